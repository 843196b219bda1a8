"""Local-Global Temporal Encoder of TCANet (report, section 2.1)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from tal_jax.models.dropout import Dropout
from tal_jax.ops.attention import global_attention, local_attention
from tal_jax.types import Array


class LGTE(nn.Module):
    """One encoder block: attention in N channel groups, the first A local, the others global (equations 1-9).

    variant="report": scores divided by sqrt(C), no residual around attention, the padding mask hides padded keys.
    variant="released": scores divided by sqrt(C / N), `x = LN(x + MHA(x))`, `x = LN(x + FFN(x))`, dropout also on the
      attention weights, and padded keys are visible, as in the released code.
    """

    heads: int = 8  # N
    local_heads: int = 4  # A
    window: int = 9  # w, odd
    ffn: int = 256
    dropout: float = 0.1
    variant: str = "report"
    norm_epsilon: float = 0.0  # of both layer norms; 0: 1e-5
    implementation: str = "auto"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"], mask: Bool[Array, "B T"], *, train: bool) -> Float[Array, "B T C"]:
        """Encodes x; needs a `dropout` rng in training."""
        channels = x.shape[-1]
        if channels % self.heads:
            raise ValueError(f"{channels} channels do not divide into {self.heads} groups")
        released = self.variant == "released"
        width = channels // self.heads
        scale = (width if released else channels) ** -0.5
        keys = jnp.ones_like(mask) if released else mask
        drop = Dropout(self.dropout, deterministic=not train)
        attention_dropout = self.dropout if released and train else 0.0

        def project(name: str) -> Array:
            return nn.Dense(channels, dtype=self.dtype, name=name)(x).reshape((*x.shape[:-1], self.heads, width))

        q, k, v = project("query"), project("key"), project("value")  # [B, T, N, C / N]
        a = self.local_heads
        parts = []
        if a > 0:
            parts.append(
                local_attention(
                    q[:, :, :a],
                    k[:, :, :a],
                    v[:, :, :a],
                    keys,
                    window=self.window,
                    scale=scale,
                    dropout_rate=attention_dropout,
                    rng=self.make_rng("dropout") if attention_dropout else None,
                    implementation=self.implementation,
                )
            )
        if a < self.heads:
            parts.append(
                global_attention(
                    q[:, :, a:],
                    k[:, :, a:],
                    v[:, :, a:],
                    keys,
                    scale=scale,
                    dropout_rate=attention_dropout,
                    rng=self.make_rng("dropout") if attention_dropout else None,
                )
            )
        f_a = jnp.concatenate(parts, axis=2).reshape(x.shape)
        f_a = nn.Dense(channels, dtype=self.dtype, name="out")(f_a)  # equation 7

        def norm(name: str, y: Array) -> Array:
            return nn.LayerNorm(epsilon=self.norm_epsilon or 1e-5, dtype=jnp.float32, name=name)(y).astype(self.dtype)

        def feed_forward(y: Array) -> Array:
            h = nn.relu(nn.Dense(self.ffn, dtype=self.dtype, name="ffn_in")(y))
            return drop(nn.Dense(channels, dtype=self.dtype, name="ffn_out")(drop(h)))

        f_b = norm("norm1", x + drop(f_a)) if released else norm("norm1", f_a) + f_a  # equation 8
        return norm("norm2", feed_forward(f_b) + f_b)  # equation 9
