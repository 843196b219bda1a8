"""Linen module around `ops.dropout`."""

import flax.linen as nn
from jaxtyping import Float

from tal_jax.ops.dropout import drop
from tal_jax.types import Array


class Dropout(nn.Module):
    """`nn.Dropout` with `drop`; needs a `dropout` rng where it drops."""

    rate: float
    deterministic: bool

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Zeroes elements of x and scales the others."""
        return x if self.deterministic or self.rate == 0 else drop(x, self.rate, self.make_rng("dropout"))
