"""Depthwise convolution and pooling along time as sums and maxima of shifted copies, which compilers fuse."""

import jax.numpy as jnp
from jaxtyping import Float

from tal_jax.types import Array


def depthwise_conv1d(
    x: Float[Array, "B T C"], kernel: Float[Array, "taps C"], stride: int = 1
) -> Float[Array, "B (T+{stride}-1)//{stride} C"]:
    """Each channel's own convolution (cross-correlation), zeros outside; output j is centred on input `stride` * j.

    Args:
      x: sequences.
      kernel: an odd number of taps for each channel.
      stride: step between outputs.
    """
    taps = kernel.shape[0]
    if taps % 2 == 0:
        raise ValueError(f"the kernel has an odd number of taps, not {taps}")
    total = None
    for tap, seen in enumerate(_shifted(x, taps, stride, 0.0)):
        term = seen * kernel[tap][None, None]
        total = term if total is None else total + term
    assert total is not None
    return total


def max_pool1d(x: Float[Array, "B T C"], taps: int, stride: int) -> Float[Array, "B (T+{stride}-1)//{stride} C"]:
    """The largest of the `taps` values around every stride-th snippet, -inf outside; `taps` is odd."""
    first, *others = _shifted(x, taps, stride, -jnp.inf)
    for seen in others:
        first = jnp.maximum(first, seen)
    return first


def _shifted(x: Array, taps: int, stride: int, outside: float) -> list[Array]:
    """What each tap sees, for all outputs."""
    half, count = taps // 2, -(-x.shape[1] // stride)
    need = (count - 1) * stride + taps  # snippets from the first that the first output sees
    after = max(need - half - x.shape[1], 0)
    padded = jnp.pad(x, ((0, 0), (half, after), (0, 0)), constant_values=jnp.asarray(outside, x.dtype))
    return [padded[:, tap : tap + (count - 1) * stride + 1 : stride] for tap in range(taps)]
