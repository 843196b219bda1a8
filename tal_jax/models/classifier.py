"""Video-level classifier: which classes does a recording hold?"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32

from tal_jax.models.convolution import Conv1D, masked
from tal_jax.models.dropout import Dropout
from tal_jax.ops.pooling import top_weights
from tal_jax.types import Array


class VideoClassifier(nn.Module):
    """Two temporal convolutions, then per class the mean of its `1 / topk_ratio` highest snippet logits.

    topk_ratio=1 is global average pooling. A larger value suits recordings that are mostly background: an action that
    fills an eighth of the time still decides with topk_ratio=8.
    """

    num_classes: int
    hidden: int = 256
    topk_ratio: int = 8
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "B T C"], mask: Bool[Array, "B T"], *, train: bool
    ) -> Float32[Array, "B {self.num_classes}"]:
        """Logits of the recordings; train: dropout on, needs a `dropout` rng."""
        x = masked(features.astype(self.dtype), mask)
        for i in range(2):
            x = masked(nn.relu(Conv1D(self.hidden, 3, dtype=self.dtype, name=f"base{i + 1}")(x)), mask)
        x = Dropout(self.dropout, deterministic=not train)(x)
        logits = nn.Dense(self.num_classes, dtype=self.dtype, name="out")(x).astype(jnp.float32)  # [B, T, K]
        return jnp.sum(top_weights(logits, mask, self.topk_ratio) * logits, axis=1)
