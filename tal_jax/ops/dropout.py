"""Dropout that draws half the random bits."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, PRNGKeyArray

from tal_jax.types import Array


def drop(x: Float[Array, "*shape"], rate: float, rng: PRNGKeyArray) -> Float[Array, "*shape"]:
    """Zeroes elements with probability `rate` and scales the others by 1 / (1 - rate).

    Sixteen bits an element, where jax.random.bernoulli takes thirty-two: drawing them is most of dropout's time on a
    CPU. The rate is exact to 1 / 65,536.
    """
    dropped = jax.random.bits(rng, x.shape, jnp.uint16) < min(round(rate * 2**16), 2**16 - 1)
    return jnp.where(dropped, jnp.zeros((), x.dtype), x * jnp.asarray(1.0 / (1.0 - rate), x.dtype))
