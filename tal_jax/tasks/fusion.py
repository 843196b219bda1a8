"""Averages of several models' outputs of the same frames, on the time axis of the first one.

Encoders differ in stride, so that one frame of the recording may be T snippets to one model and T' to another: what
lies along time is interpolated between the centres of snippets, and lengths are scaled by T / T'.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tal_jax.types import Array


def mean(values: Sequence[Array], weights: Array) -> Array:
    """The weighted mean of N arrays of one shape; weights [N] float32 sum to 1.

    It is taken element by element in float32, not as a matrix product, which would be of lower precision on some
    devices: positions in a long recording are among the values.
    """
    terms = [weight * value.astype(jnp.float32) for weight, value in zip(weights, values, strict=True)]
    return functools.reduce(jnp.add, terms)


def mean_of_logits(logits: Sequence[Array], weights: Array) -> Array:
    """The logit of the weighted mean of the probabilities of N arrays of logits; weights [N] float32 sum to 1.

    p and 1 - p are averaged apart: 1 - p from p is all rounding where p is near 1, and fusing a model with itself is
    to change nothing.
    """
    positive = mean([jax.nn.sigmoid(x) for x in logits], weights)
    negative = mean([jax.nn.sigmoid(-x) for x in logits], weights)
    tiny = jnp.finfo(jnp.float32).tiny
    return jnp.log(jnp.maximum(positive, tiny)) - jnp.log(jnp.maximum(negative, tiny))


def along(x: Array, size: int, axis: int = 1) -> Array:
    """Interpolates values from the centres of n equal parts of the frame to those of `size` parts.

    Args:
      x: [.., n, ..] along `axis`.
      size: how many parts there are to be.
      axis: the axis of time.

    Returns:
      [.., size, ..]; beyond the outermost centres the values are constant.
    """
    n = x.shape[axis]
    if n == size:
        return x
    centre = jnp.clip((jnp.arange(size, dtype=jnp.float32) + 0.5) * (n / size) - 0.5, 0, n - 1)
    return _at(x, centre, axis)


def durations(x: Array, size: int, snippets: tuple[int, int], axis: int = 2) -> Array:
    """Interpolates values for the durations 1, 2, .. snippets of one frame to those of another frame.

    Args:
      x: [.., D, ..] along `axis`.
      size: how many durations there are to be.
      snippets: (T', T), how many snippets the frame of x and the other one have.
      axis: the axis of durations.

    Returns:
      [.., size, ..]; beyond the shortest and the longest duration of x the values are constant.
    """
    n = x.shape[axis]
    if n == size and snippets[0] == snippets[1]:
        return x
    at = (jnp.arange(size, dtype=jnp.float32) + 1) * (snippets[0] / snippets[1]) - 1
    return _at(x, jnp.clip(at, 0, n - 1), axis)


def _at(x: Array, position: Array, axis: int) -> Array:
    floor = jnp.floor(position)
    low = floor.astype(jnp.int32)
    high = jnp.minimum(low + 1, x.shape[axis] - 1)
    part = (position - floor).reshape(*(1,) * axis, -1, *(1,) * (x.ndim - 1 - axis))
    return jnp.take(x, low, axis=axis) * (1 - part) + jnp.take(x, high, axis=axis) * part
