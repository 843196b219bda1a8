"""Linen module around `ops.dropout`."""

import flax.linen as nn

from tal_jax.ops.dropout import drop
from tal_jax.types import Array


class Dropout(nn.Module):
    """`nn.Dropout` with `drop`; needs a `dropout` rng where it drops."""

    rate: float
    deterministic: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Any shape."""
        return x if self.deterministic or self.rate == 0 else drop(x, self.rate, self.make_rng("dropout"))
