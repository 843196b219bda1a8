"""Spreading one array of a step over devices that share a recording: the second axis of the mesh."""

import jax
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Shaped

from tal_jax.types import Array

DATA, MODEL = "data", "model"  # the axes of a mesh: rows of a batch; parts of one recording


def split_over_model(x: Shaped[Array, "B *more"], axis: int) -> Shaped[Array, "B *more"]:
    """x with `axis` spread over the mesh's axis `model`, rows over `data`: what follows is computed in parts.

    Nothing changes where the step is compiled for a mesh without that axis, or where it does not divide the array's.
    """
    parts = dict(jax.sharding.get_abstract_mesh().shape).get(MODEL, 1)
    if parts == 1 or x.shape[axis] % parts:
        return x
    names = [DATA, *(MODEL if i == axis else None for i in range(1, x.ndim))]
    return lax.with_sharding_constraint(x, PartitionSpec(*names))
