"""Sums of sequences between real-valued positions, and what is built on them: averages, contrasts, smoothing.

A sequence x is taken as a function of time that is x[i] on [i, i + 1). Its cumulative sum F is piecewise linear, so
the integral over any [a, b] is F(b) - F(a): no loop, no rounding of boundaries, and exact gradients for a, b and x.
"""

import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32

from tal_jax.types import Array, Scalar

# Lengths below a thousandth of a snippet have no mean: they are taken as empty.
MIN_LENGTH = 1e-3
# Areas are averaged over a snippet at least. The mean over less, a difference of sums divided by next to nothing, is
# rounding, and so is its gradient, which grows without bound: two trainings that differ in the last bit part on it.
MIN_AREA = 1.0


def cumulative_sum(x: Float[Array, "B T K"], mask: Bool[Array, "B T"]) -> Float32[Array, "B T+1 K"]:
    """F at 0, 1, .., T; padding counts as zero."""
    total = jnp.cumsum(jnp.where(mask[..., None], x.astype(jnp.float32), 0.0), axis=1)
    return jnp.pad(total, ((0, 0), (1, 0), (0, 0)))


def integral(
    sums: Float[Array, "B edges K"], start: Float[Array, "B *N"], end: Float[Array, "B *N"]
) -> Float[Array, "B *N K"]:
    """Integral of a sequence over [start, end].

    Args:
      sums: of `cumulative_sum`, at T + 1 edges.
      start, end: in snippet units; what lies beyond [0, T] counts as zero.

    Returns:
      Integrals by class; negative where end < start.
    """
    return _at(sums, end) - _at(sums, start)


def _at(sums: Array, positions: Array) -> Array:
    """F at positions [B, ...] -> [B, ..., K], linear between whole positions."""
    b, n, k = sums.shape
    p = jnp.clip(positions.reshape(b, -1), 0.0, n - 1.0)
    # T itself belongs to the last snippet: the fraction is 1 there.
    low = jnp.minimum(jnp.floor(p), n - 2.0)
    fraction = (p - low)[..., None]
    index = low.astype(jnp.int32)[..., None]
    below = jnp.take_along_axis(sums, index, axis=1)
    above = jnp.take_along_axis(sums, index + 1, axis=1)
    return (below + fraction * (above - below)).reshape((*positions.shape, k))


def mean(
    sums: Float[Array, "B edges K"],
    start: Float[Array, "B *N"],
    end: Float[Array, "B *N"],
    duration: Float[Array, "B"],
) -> Float[Array, "B *N K"]:
    """Mean of a sequence over the part of [start, end] that lies in the recording; 0 where that is empty.

    Args:
      sums: of `cumulative_sum`, at T + 1 edges.
      start, end: in snippet units.
      duration: where the recording ends: the number of its snippets.
    """
    limit = duration.reshape((-1,) + (1,) * (start.ndim - 1))
    start, end = jnp.clip(start, 0.0, limit), jnp.clip(end, 0.0, limit)
    return _over(integral(sums, start, end), end - start)


def inner_outer(
    sums: Float[Array, "B edges K"],
    segments: Float[Array, "B *N 2"],
    duration: Float[Array, "B"],
    *,
    inflation: Scalar,
) -> tuple[Float[Array, "B *N K"], Float[Array, "B *N K"]]:
    """Mean activation inside segments, and in the area around them (report, section 3.1).

    The outer boundary is S = s - max(inflation w, 1), E = e + max(inflation w, 1) with w = e - s: at least one snippet
    on either side. The outer area is [S, E] without [s, e]; both are cut to the recording.

    Args:
      sums: of `cumulative_sum`, at T + 1 edges.
      segments: in snippet units.
      duration: the number of the recordings' snippets.
      inflation: gamma.

    Returns:
      (inner, outer). An area of less than a snippet is averaged over a whole one: its mean fades to 0
      with its length. A segment with swapped ends is an empty one at s.
    """
    limit = duration.reshape((-1,) + (1,) * (segments.ndim - 2))
    s, e = segments[..., 0], jnp.maximum(segments[..., 0], segments[..., 1])
    margin = jnp.maximum(inflation * (e - s), 1.0)
    low, high = jnp.clip(s - margin, 0.0, limit), jnp.clip(e + margin, 0.0, limit)
    s, e = jnp.clip(s, 0.0, limit), jnp.clip(e, 0.0, limit)
    inside = integral(sums, s, e)
    around = integral(sums, low, high) - inside
    lengths = (e - s, (high - low) - (e - s))
    inner, outer = (x / jnp.maximum(n, MIN_AREA)[..., None] for x, n in zip((inside, around), lengths, strict=True))
    return inner, outer


def inner_outer_by_class(
    sums: Float[Array, "B edges K"],
    segments: Float[Array, "B N K 2"],
    duration: Float[Array, "B"],
    *,
    inflation: Scalar,
) -> tuple[Float[Array, "B N K"], Float[Array, "B N K"]]:
    """`inner_outer` where every class has segments of its own."""
    b, n, k, _ = segments.shape
    # Classes become recordings of one class each.
    flat = segments.transpose(0, 2, 1, 3).reshape(b * k, n, 2)
    alone = sums.transpose(0, 2, 1).reshape(b * k, -1, 1)
    inner, outer = inner_outer(alone, flat, jnp.repeat(duration, k), inflation=inflation)
    inner, outer = (x.reshape(b, k, n).transpose(0, 2, 1) for x in (inner, outer))
    return inner, outer


def smooth(
    x: Float[Array, "B T K"], mask: Bool[Array, "B T"], window: Float[Array, "#B"] | Scalar
) -> Float32[Array, "B T K"]:
    """Moving average over a real-valued window centred on every snippet; at the ends, over its part in the recording.

    Args:
      x: sequences.
      mask: real snippets come first.
      window: width in snippet units; up to 1 leaves x as it is.

    Returns:
      Smooth sequences, 0 in padding.
    """
    b, t, _ = x.shape
    x, real = x.astype(jnp.float32), mask[..., None]
    length = jnp.sum(mask, axis=1, dtype=jnp.float32)
    width = jnp.broadcast_to(jnp.asarray(window, jnp.float32), (b,))[:, None]
    centre = jnp.broadcast_to(jnp.arange(t, dtype=jnp.float32)[None] + 0.5, (b, t))
    # Only deviations are summed: rounding of a long sum would make waves in a sequence that is constant.
    level = jnp.sum(jnp.where(real, x, 0.0), axis=1, keepdims=True) / jnp.maximum(length, 1.0)[:, None, None]
    deviation = mean(cumulative_sum(x - level, mask), centre - width / 2, centre + width / 2, length)
    return jnp.where(real, jnp.where(width[..., None] > 1, level + deviation, x), 0.0)


def _over(total: Array, length: Array) -> Array:
    """total [.., K] / length [..], 0 where there is no length worth the name; safe to differentiate there."""
    some = length > MIN_LENGTH
    return jnp.where(some[..., None], total / jnp.where(some, length, 1.0)[..., None], 0.0)
