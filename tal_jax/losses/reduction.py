"""The one masked reduction that all losses end in, and the balanced draw of negatives."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32, PRNGKeyArray, Shaped

from tal_jax.types import Array, Scalar


def masked_mean(values: Float[Array, "*shape"], weights: Shaped[Array, "*shape"]) -> Float[Array, ""]:
    """sum(values * weights) / sum(weights) over everything; 0, with zero gradient, where the weights sum to 0.

    Under jit over a mesh the sums run over the global batch, so the result does not depend on the number of devices.
    values are read only where weights are non-zero: what stands in padding, even NaN, does not matter.
    """
    weights = weights.astype(jnp.float32)
    total = jnp.sum(weights)
    value = jnp.sum(jnp.where(weights > 0, values, 0.0) * weights)
    return jnp.where(total > 0, value / jnp.where(total > 0, total, 1.0), 0.0)


def draw(pool: Bool[Array, "*shape"], count: Scalar, rng: PRNGKeyArray | None) -> Float32[Array, "*shape"]:
    """Weights that draw `count` members of a pool.

    Args:
      pool: who belongs to it.
      count: how many to draw; all are taken where the pool is smaller.
      rng: draws exactly that many at random, weight 1 each. None gives every member the weight min(1, count / size),
        the expectation of the draw: same mean, no noise, and independent of padding.
    """
    size = jnp.sum(pool, dtype=jnp.float32)
    if rng is None:
        return jnp.where(pool, jnp.minimum(1.0, count / jnp.maximum(size, 1.0)), 0.0)
    chance = jnp.where(pool, jax.random.uniform(rng, pool.shape), 2.0).ravel()
    order = jnp.argsort(chance)
    taken = jnp.arange(chance.size, dtype=jnp.float32) < jnp.minimum(count, size)
    return jnp.zeros(chance.size, jnp.float32).at[order].set(taken.astype(jnp.float32)).reshape(pool.shape)
