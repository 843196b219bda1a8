"""Softmax over what is visible, in float32, with dropout: the weights of every kind of attention."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32, PRNGKeyArray

from tal_jax.ops.dropout import drop
from tal_jax.types import Array

# Finite, so that a query without any key gets finite weights (and a zero output) instead of NaN.
_HIDDEN = -1e30


def masked_softmax(
    scores: Float[Array, "*shape"], visible: Bool[Array, "*#shape"], dropout_rate: float, rng: PRNGKeyArray | None
) -> Float32[Array, "*shape"]:
    """Float32 softmax over the last axis of scores, zero where not visible, with optional dropout."""
    scores = jnp.where(visible, scores.astype(jnp.float32), _HIDDEN)
    scores = scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    e = jnp.where(visible, jnp.exp(scores), 0.0)
    total = jnp.sum(e, axis=-1, keepdims=True)
    weights: Array = e / jnp.where(total > 0, total, 1.0)
    if rng is not None and dropout_rate > 0:
        weights = drop(weights, dropout_rate, rng)
    return weights
