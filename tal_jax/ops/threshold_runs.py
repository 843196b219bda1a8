"""Runs: the stretches of a sequence that lie at or above a threshold."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float

from tal_jax.types import Array


def runs(
    values: Float[Array, "B T K"], mask: Bool[Array, "B T"], thresholds: Float[Array, "J"]
) -> tuple[Float[Array, "B J T K 2"], Bool[Array, "B J T K"]]:
    """All runs of all classes at all thresholds, without a loop.

    A run's ends lie where the sequence, drawn as straight lines between snippet centres, crosses the threshold; at the
    ends of the recording they lie at its first or last snippet's edge. A run of one snippet is thus at most two
    snippets long, and the ends move continuously with the threshold.

    Args:
      values: activation sequences.
      mask: real snippets come first.
      thresholds: J of them.

    Returns:
      segments in snippet units, and first: entry t holds the run that begins with
      snippet t, and is to be used where `first` is True.
    """
    t = values.shape[1]
    level = thresholds[None, :, None, None]
    v = jnp.where(mask[..., None], values, -jnp.inf)[:, None]  # [B, 1, T, K]
    above = v >= level  # [B, J, T, K]
    edge = jnp.zeros_like(above[:, :, :1])
    first = above & ~jnp.concatenate([edge, above[:, :, :-1]], axis=2)
    last = above & ~jnp.concatenate([above[:, :, 1:], edge], axis=2)
    at = jnp.arange(t, dtype=jnp.float32)[None, None, :, None]

    real = mask[:, None, :, None]
    before = jnp.concatenate([v[:, :, :1], v[:, :, :-1]], axis=2)
    has_before = real & (at > 0)
    start = jnp.where(has_before, at + 0.5 - _fraction(v, before, level, has_before), at)
    after = jnp.concatenate([v[:, :, 1:], v[:, :, -1:]], axis=2)
    has_after = jnp.concatenate([mask[:, 1:], jnp.zeros_like(mask[:, :1])], axis=1)[:, None, :, None]
    end = jnp.where(has_after, at + 0.5 + _fraction(v, after, level, has_after), at + 1.0)
    # The end that belongs to a start is the first end at or after it.
    end = lax.cummin(jnp.where(last, end, jnp.inf), axis=2, reverse=True)
    segments = jnp.stack(jnp.broadcast_arrays(start, end), axis=-1)
    return jnp.where(first[..., None], segments, 0.0), first


def _fraction(inside: Array, outside: Array, level: Array, valid: Array) -> Array:
    """How far from the inside snippet's centre towards the outside one's the threshold is crossed, in [0, 1]."""
    step = jnp.where(valid, inside - outside, 0.0)
    rise = jnp.where(valid, inside - level, 0.0)
    return jnp.clip(jnp.where(step > 0, rise / jnp.where(step > 0, step, 1.0), 1.0), 0.0, 1.0)
