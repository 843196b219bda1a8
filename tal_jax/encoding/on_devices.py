"""An encoder on all devices of this process: images of bytes in, features out, one program however many devices."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float32, Int32, UInt8

from tal_jax.encoders.entry import Encoder
from tal_jax.encoding.packing import ClipBatch
from tal_jax.types import Array
from tal_jax.video.preprocessing import Preprocessing


def pooled(
    network: nn.Module,
    preprocessing: Preprocessing,
    variables: Mapping[str, Any],
    images: UInt8[Array, "M N Y X C"],
    index: Int32[Array, "B FS"],
    stack: int = 1,
) -> Float32[Array, "B D"]:
    """The features of clips of images: of the N crops of each the mean.

    Args:
      network: of an encoder.
      preprocessing: what it wants done to images.
      variables: of the network.
      images: N crops of every image, or flow field.
      index: which images make a clip, F S of them.
      stack: S, how many neighbouring ones lie side by side in the channels.
    """
    normal = preprocessing.on_device(images)
    clips = jnp.moveaxis(normal[index], 2, 1)  # [B, N, F S, Y, X, C]
    rows, crops, _, *pixels, channels = clips.shape
    clips = clips.reshape(rows * crops, -1, stack, *pixels, channels)
    if stack > 1:
        clips = jnp.moveaxis(clips, 2, -2)
    features: Any = network.apply(variables, clips.reshape(*clips.shape[:2], *pixels, stack * channels))
    return features.reshape(rows, crops, -1).mean(axis=1)


def program(
    encoder: Encoder, preprocessing: Preprocessing, dtype: Any, mesh: Mesh
) -> tuple[Callable[..., Array], NamedSharding, NamedSharding]:
    """`pooled` of an encoder on the devices of a mesh, each with images and clips of its own.

    Args:
      encoder: the entry of the catalogue.
      preprocessing: its own, or with other crops.
      dtype: what it computes in.
      mesh: of one axis.

    Returns:
      The compiled function of variables, images and index; where variables lie, and where the others do.
    """
    (axis,) = mesh.axis_names
    everywhere, by_device = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(axis))
    spread = jax.shard_map(
        functools.partial(pooled, encoder.network(dtype), preprocessing, stack=encoder.stack),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(axis), PartitionSpec(axis)),
        out_specs=PartitionSpec(axis),
    )
    return (
        jax.jit(spread, in_shardings=(everywhere, by_device, by_device), out_shardings=by_device),
        everywhere,
        by_device,
    )


class OnDevices:
    """Computes the features of as many batches at a time as there are devices."""

    def __init__(self, encoder: Encoder, preprocessing: Preprocessing, variables: Mapping[str, Any], dtype: Any):
        """Sends the weights to the devices.

        Args:
          encoder: the entry of the catalogue.
          preprocessing: its own, or with other crops.
          variables: of the network.
          dtype: what it computes in.
        """
        mesh = Mesh(np.array(jax.local_devices()), ("batch",))
        self.devices = mesh.size
        self._program, everywhere, self._by_device = program(encoder, preprocessing, dtype, mesh)
        self._variables = jax.device_put(variables, everywhere)

    def start(self, batches: Sequence[ClipBatch]) -> Array:
        """Sends batches to the devices, and returns their features [devices * B, D] while they are computed."""
        filled = [*batches, *[_like(batches[0])] * (self.devices - len(batches))]
        images, index = (np.concatenate([getattr(b, name) for b in filled]) for name in ("images", "index"))
        return self._program(
            self._variables, jax.device_put(images, self._by_device), jax.device_put(index, self._by_device)
        )


def _like(batch: ClipBatch) -> ClipBatch:
    return ClipBatch(np.zeros_like(batch.images), np.zeros_like(batch.index), ())
