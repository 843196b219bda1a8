"""What vision transformers share: layer norm, dense layers and attention, with float32 where digits matter."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from tal_jax.types import Array


class LayerNorm(nn.Module):
    """Layer norm over the channels in float32, given back in the type of its input."""

    eps: float = 1e-6
    offset: float = 0.0  # of the stored scale: 1 where it is stored as its difference from 1

    @nn.compact
    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        """Normalises x."""
        init = nn.initializers.zeros if self.offset else nn.initializers.ones
        scale = self.param("scale", init, x.shape[-1:]) + self.offset
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        wide = x.astype(jnp.float32)
        mean = wide.mean(-1, keepdims=True)
        centred = wide - mean
        factor = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + self.eps)
        row = (1,) * (x.ndim - 1) + (-1,)
        return (centred * factor * scale.reshape(row) + bias.reshape(row)).astype(x.dtype)


def dense(features: int, name: str, dtype: Any, bias: bool = True) -> nn.Dense:
    """A fully connected layer that computes in `dtype`; its parameters are float32."""
    return nn.Dense(features, use_bias=bias, dtype=dtype, name=name)


def attention(
    query: Float[Array, "B N H h"], key: Float[Array, "B M H h"], value: Float[Array, "B M H h"], cap: float = 0.0
) -> Float[Array, "B N H h"]:
    """softmax(q k / sqrt(h)) v per head; logits and softmax in float32, logits l as cap tanh(l / cap) where capped."""
    scale = jnp.array(query.shape[-1] ** -0.5, query.dtype)
    logits = jnp.einsum("bnhd,bmhd->bhnm", query * scale, key, preferred_element_type=jnp.float32)
    if cap:
        logits = cap * jnp.tanh(logits / cap)
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.einsum("bhnm,bmhd->bnhd", weights, value)
