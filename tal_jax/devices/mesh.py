"""One mesh over all devices: rows of a batch are split over its axis `data`, parameters are copied.

A second axis, `model`, splits what is large within a recording: BMN's map by duration, TCANet's proposals.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tal_jax.errors import InputError
from tal_jax.ops.model_axis import DATA, MODEL
from tal_jax.types import Batch


def make_mesh(model: int = 1) -> Mesh:
    """All devices of all processes, `model` of them for every row of a batch, the rest along `data`.

    Raises:
      InputError: the devices of a process do not divide so.
    """
    devices = np.asarray(jax.devices())
    if model <= 1:
        return Mesh(devices, (DATA,))
    if jax.local_device_count() % model:
        raise InputError(
            f"config: mesh.model {model} does not divide the {jax.local_device_count()} devices of a process"
        )
    return Mesh(devices.reshape(-1, model), (DATA, MODEL))


def local_mesh() -> Mesh:
    """The devices of this process alone: predictions, which share recordings out and need no other process."""
    return Mesh(np.asarray(jax.local_devices()), (DATA,))


def to_host(tree: Any) -> Any:
    """Arrays as NumPy arrays, whole in every process; all processes must call it."""

    def one(x: Any) -> np.ndarray:
        if x.is_fully_replicated:
            return np.asarray(x.addressable_data(0))
        return np.asarray(x if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(one, tree)


def rows_per_process(mesh: Mesh, batch_size: int, accumulate: int = 0) -> int:
    """Rows of the global batch that this process reads; each of `accumulate` parts is split over all devices.

    Raises:
      InputError: the batch does not divide over the devices.
    """
    devices = mesh.shape[DATA]
    if batch_size % devices:
        raise InputError(f"config: batch_size {batch_size} does not divide over {devices} devices")
    if accumulate > 1 and batch_size % (devices * accumulate):
        raise InputError(
            f"config: batch_size {batch_size} does not divide over {devices} devices times accumulate {accumulate}"
        )
    return batch_size // jax.process_count()


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of parameters."""
    return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh) -> NamedSharding:
    """The sharding of batches: the leading axis over `data`."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def put(sharding: NamedSharding, batch: Batch) -> Batch:
    """Host rows of this process to a global device batch; returns at once, the copy overlaps with computation."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def put_batch(mesh: Mesh, batch: Batch) -> Batch:
    """`put` with rows split over the mesh."""
    return put(by_row(mesh), batch)
