"""From snippets to a recording: how much each snippet counts for each class."""

import jax.numpy as jnp

from tal_jax.types import Array


def mean_weights(mask: Array) -> Array:
    """Global average pooling over real snippets: mask [B, T] -> weights [B, T, 1] float32 that sum to 1 over T.

    All weights are 0 where nothing is real.
    """
    count = jnp.sum(mask, axis=1, dtype=jnp.float32)[:, None]
    return (mask.astype(jnp.float32) / jnp.maximum(count, 1.0))[..., None]


def top_weights(values: Array, mask: Array, top: int) -> Array:
    """Top-k pooling: equal weights for the ceil(n / top) highest of a recording's n real snippets, class by class.

    Counted from the real length, so padding does not change how many snippets vote; top = 1 is `mean_weights`. Of equal
    values the earlier ones win.

    Args:
      values: [B, T, K] that rank the snippets.
      mask: [B, T].
      top: 1 / share of the snippets.

    Returns:
      [B, T, K] float32 that sum to 1 over T, 0 where nothing is real. Weights are constants for differentiation.
    """
    real = jnp.sum(mask, axis=1, dtype=jnp.int32)
    votes = jnp.where(real > 0, -(-real // top), 0)[:, None, None]  # [B, 1, 1]
    real_values = jnp.where(mask[..., None], values, -jnp.inf)
    ordered = jnp.sort(real_values, axis=1, descending=True)
    last = jnp.take_along_axis(ordered, jnp.maximum(votes - 1, 0), axis=1)  # the lowest value that still votes
    higher, level = real_values > last, (real_values == last) & mask[..., None]
    # One sort and a running count are cheaper than the ranks of all snippets.
    room = votes - jnp.sum(higher, axis=1, keepdims=True, dtype=jnp.int32)
    voting = higher | (level & (jnp.cumsum(level, axis=1, dtype=jnp.int32) <= room))
    return voting.astype(jnp.float32) / jnp.maximum(votes, 1).astype(jnp.float32)
