"""The cost of an encoder on a TPU topology, from compiling it on a machine that has none."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tal_jax.devices.compilation import no_cache
from tal_jax.encoders import catalogue
from tal_jax.encoding.on_devices import program
from tal_jax.encoding.packing import Packing
from tal_jax.errors import InputError
from tal_jax.experiments.tpu_cost import compiled, devices_of
from tal_jax.video.clips import Sampling


def compile_encoder(name: str, topology: str, *, clips: int = 0, dtype: str = "bfloat16") -> dict[str, Any]:
    """Compiles an encoder as `launch.encode` runs it, every device with clips of its own that do not overlap.

    Args:
      name: of the encoder.
      topology: a kind of TPU and its grid of chips, such as "v5e:2x2".
      clips: B of all devices together; 0 takes as many as hold 32 images on each.
      dtype: what the network computes in, "float32" or "bfloat16".

    Returns:
      `fits`, `memory_bytes` of a device, clips and images of a device, and for `encode` what
      `tpu_cost.compile_for` has for a step.

    Raises:
      InputError: there is no such encoder or topology, libtpu is not installed, or the clips do not divide.
    """
    encoder = catalogue.find(name)
    devices, memory = devices_of(topology)
    clips = clips or max(1, 32 // encoder.images) * len(devices)
    if clips % len(devices):
        raise InputError(f"--batch_size={clips}: does not divide over {len(devices)} devices")
    packing = Packing.of(
        Sampling(encoder.images, encoder.images * encoder.interval, encoder.interval, stack=encoder.stack),
        clips // len(devices),
    )
    preprocessing, side = encoder.preprocessing, encoder.side
    with no_cache():
        run, _, _ = program(encoder, preprocessing, jnp.dtype(dtype), Mesh(np.asarray(devices), ("batch",)))
        clip = jax.ShapeDtypeStruct((1, encoder.images, side, side, encoder.channels), jnp.float32)
        variables = jax.eval_shape(encoder.network(jnp.float32).init, jax.random.key(0), clip)
        images = (len(devices) * packing.images, preprocessing.crops, side, side, 2 if encoder.sees_flow else 3)
        found = compiled(
            topology,
            run,
            variables,
            jax.ShapeDtypeStruct(images, jnp.uint8),
            jax.ShapeDtypeStruct((len(devices) * packing.clips, encoder.images * encoder.stack), jnp.int32),
        )
    return {
        "encoder": encoder.name,
        "topology": topology,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "clips": packing.clips,
        "images": packing.images,
        "dtype": dtype,
        "memory_bytes": int(memory),
        "fits": found["bytes"] <= memory,
        "encode": found,
    }
