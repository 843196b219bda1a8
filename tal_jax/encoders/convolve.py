"""Convolutions of images and clips, in the form that is fastest for their window."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from tal_jax.types import Array

AXES = "FYX"


def convolve(
    x: Float[Array, "B *axes C"],
    kernel: Float[Array, "*window I O"],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    groups: int = 1,
) -> Float[Array, "B *_ O"]:
    """The convolution of x with a kernel over all its axes, as PyTorch and JAX define it (a cross-correlation).

    Args:
      x: images or clips, channels last.
      kernel: its window's axes are those of x between batch and channels; I = C / groups.
      strides: of every axis.
      padding: zeros before and after every axis.
      groups: channels are cut into as many groups, which do not see each other.
    """
    axes = AXES[-(x.ndim - 2) :]
    if groups == 1 and math.prod(kernel.shape[:-2]) == 1 and not any(map(sum, padding)):
        seen = x[(slice(None), *(slice(None, None, s) for s in strides))]
        return seen @ kernel.reshape(kernel.shape[-2:])
    return jax.lax.conv_general_dilated(
        jnp.asarray(x),
        jnp.asarray(kernel),
        tuple(strides),
        tuple(padding),
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=groups,
    )
