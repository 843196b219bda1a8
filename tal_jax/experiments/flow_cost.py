"""The cost of optical flow on a TPU topology, from compiling it on a machine that has none, and a guess for GPUs."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tal_jax.devices.compilation import no_cache
from tal_jax.errors import InputError
from tal_jax.experiments.tpu_cost import compiled, devices_of
from tal_jax.ops.optical_flow import OPENCV, OPENCV_CUDA, TVL1, sizes, tvl1
from tal_jax.words import hint

ROWS, COLUMNS = 256, 340  # of images as two-stream networks were trained on
SETTINGS = {"opencv": OPENCV, "denseflow": OPENCV_CUDA}
PAIRS = 8  # of a device, where nothing is said
# Planes of float32 that an iteration reads and writes in two passes: u, the two dual variables and the gradient, of two
# planes each, the constant and the inverse, and the new u; then u, the dual variables, and the dual variables again.
PLANES = 12 + 10
BANDWIDTH = {"H200": 4.8e12, "A100": 2.0e12}  # bytes a second of NVIDIA's data sheets (A100: 80 GB)


def compile_flow(
    name: str, topology: str, *, pairs: int = 0, rows: int = ROWS, columns: int = COLUMNS
) -> dict[str, Any]:
    """Compiles TV-L1 with all iterations that its settings allow, every device with pairs of its own.

    Args:
      name: "opencv" or "denseflow".
      topology: a kind of TPU and its grid of chips, such as "v5e:2x2".
      pairs: of images, of all devices together; 0 takes `PAIRS` on each.
      rows, columns: of the images.

    Returns:
      `fits`, `memory_bytes` of a device, its pairs, for `flow` what `tpu_cost.compile_for` has for a step, and of a
      pair: `iterations`, all scales together, `seconds_per_pair` by the compiler's reckoning, `iteration_share` of them
      in iterations, and by the bytes that iterations move, `gpu_seconds_per_pair` of GPUs.

    Raises:
      InputError: there is no such flow or topology, libtpu is not installed, or the pairs do not divide.
    """
    if name not in SETTINGS:
        raise InputError(f"--flow={name}: no such flow; {hint(name, SETTINGS, 'there are')}")
    devices, memory = devices_of(topology)
    pairs = pairs or PAIRS * len(devices)
    if pairs % len(devices):
        raise InputError(f"--batch_size={pairs}: does not divide over {len(devices)} devices")
    # With a limit on the change, how often a loop runs depends on the images.
    settings = dataclasses.replace(SETTINGS[name], epsilon=0.0)
    mesh = Mesh(np.asarray(devices), ("batch",))
    by_device = NamedSharding(mesh, PartitionSpec("batch"))
    spread = jax.shard_map(
        functools.partial(tvl1, settings=settings),
        mesh=mesh,
        in_specs=(PartitionSpec("batch"),) * 2,
        out_specs=PartitionSpec("batch"),
        check_vma=False,
    )
    images = jax.ShapeDtypeStruct((pairs, rows, columns), jnp.uint8)
    with no_cache():
        found = compiled(topology, jax.jit(spread, in_shardings=by_device, out_shardings=by_device), images, images)
    own = pairs // len(devices)
    return {
        "method": name,
        "topology": topology,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "pairs": own,
        "rows": rows,
        "columns": columns,
        "iterations": len(sizes(rows, columns, settings)) * iterations(settings),
        "seconds_per_pair": found.get("estimated_seconds", 0.0) / own,
        "iteration_share": found.get("loop_share", 0.0),
        "gpu_seconds_per_pair": gpu_seconds(rows, columns, settings),
        "memory_bytes": int(memory),
        "fits": found["bytes"] <= memory,
        "flow": found,
    }


def iterations(settings: TVL1) -> int:
    """As many as the settings allow, at one scale."""
    return settings.warps * settings.outer * settings.inner


def gpu_seconds(rows: int, columns: int, settings: TVL1) -> dict[str, float]:
    """Of a pair on GPUs, by name: how long it takes to move what all iterations read and write, and nothing else."""
    pixels = sum(y * x for y, x in sizes(rows, columns, settings))
    moved = 4 * PLANES * iterations(settings) * pixels
    return {name: moved / rate for name, rate in BANDWIDTH.items()}


def lines(found: Mapping[str, Any]) -> list[str]:
    """What `compile_flow` found of a pair, beside the table of `tpu_cost.lines`."""
    seconds = found["seconds_per_pair"]
    gpus = ", ".join(f"{name} {1e3 * each:.1f} ms" for name, each in found["gpu_seconds_per_pair"].items())
    return [
        f"  a pair of {found['columns']} x {found['rows']}: {found['iterations']} iterations; "
        + (f"{1e3 * seconds:.1f} ms, {found['iteration_share']:.0%} of it in them" if seconds else "no estimate"),
        f"  moving what iterations read and write, and nothing else: {gpus} (an estimate, not measured)",
        "  at most: a warp ends as soon as the flow no longer changes",
    ]
