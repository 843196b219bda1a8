"""Two convolutions, then for every snippet class logits and distances to both ends of its action."""

import flax.linen as nn
import jax.numpy as jnp


class PointDetector(nn.Module):
    num_classes: int
    hidden: int = 16
    dropout: float = 0.1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features, mask, *, train):
        """features [B, T, C], mask [B, T] -> logits [B, T, K], distances [B, T, 2] in snippets, not negative."""
        x = features.astype(self.dtype)
        for i in range(2):
            x = nn.relu(nn.Conv(self.hidden, (5,), dtype=self.dtype, name=f"conv{i + 1}")(x))
            x = jnp.where(mask[..., None], x, 0)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        logits = nn.Dense(self.num_classes, dtype=self.dtype, name="classes")(x)
        distances = nn.softplus(nn.Dense(2, dtype=self.dtype, name="distances")(x))
        return logits.astype(jnp.float32), distances.astype(jnp.float32)
