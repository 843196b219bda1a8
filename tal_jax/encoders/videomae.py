"""VideoMAE: vision transformers on tubes of a clip.

Tong et al. 2022, arXiv:2203.12602; the second version, Wang et al. 2023, arXiv:2303.16727, is larger. There is no class
token, keys have no bias, and positions are a fixed table over all tokens.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import Conv
from tal_jax.encoders.transformer import LayerNorm, attention, dense, gelu
from tal_jax.types import Array


def positions(tokens: int, width: int) -> Float32[np.ndarray, "tokens width"]:
    """The table sin(p / 10000^(2 floor(j / 2) / D)) of even channels j, with cos for odd ones."""
    angles = np.arange(tokens)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)[None]
    angles[:, ::2], angles[:, 1::2] = np.sin(angles[:, ::2]), np.cos(angles[:, 1::2])
    return angles.astype(np.float32)


class Block(nn.Module):
    """A pre-norm block, as `nn.scan` wants it: the tokens go in and out, and nothing else."""

    heads: int
    mlp: int
    eps: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N D"], _: None = None, mean: bool = False
    ) -> tuple[Float[Array, "B N D"] | Float[Array, "B 1 D"], None]:
        """Attention and MLP, each on top of what it reads; with `mean`, the mean of the tokens alone.

        The MLP's second product and the mean commute, so that the product is then of one token in place of N.
        """
        width = x.shape[-1]
        y = dense(3 * width, "qkv", self.dtype, bias=False)(LayerNorm(self.eps, name="norm1")(x))
        query, key, value = jnp.split(y, 3, -1)
        query = query + self.param("q_bias", nn.initializers.zeros, (width,)).astype(self.dtype).reshape(1, 1, -1)
        value = value + self.param("v_bias", nn.initializers.zeros, (width,)).astype(self.dtype).reshape(1, 1, -1)
        by_head = (*x.shape[:2], self.heads, width // self.heads)
        seen = attention(query.reshape(by_head), key.reshape(by_head), value.reshape(by_head))
        x = x + dense(width, "proj", self.dtype)(seen.reshape(x.shape))
        y = gelu(dense(self.mlp, "fc1", self.dtype)(LayerNorm(self.eps, name="norm2")(x)))
        if mean:
            x, y = (t.astype(jnp.float32).mean(1, keepdims=True).astype(self.dtype) for t in (x, y))
        return x + dense(width, "fc2", self.dtype)(y), None


class VideoMAE(nn.Module):
    """The feature is the mean over all tokens. ViT-B by default.

    norm="after_mean": of that mean, as fine-tuned networks have it; "before_mean": of the tokens, as after pretraining;
    "none": no norm at the end. Clips of another length or size than `images` and `side` get interpolated positions.
    """

    width: int = 768  # D
    depth: int = 12
    heads: int = 12
    mlp: int = 3072
    patch: int = 16
    tube: int = 2  # images of a token
    images: int = 16  # that it was trained with
    side: int = 224
    norm: str = "after_mean"
    eps: float = 1e-6
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B {self.width}"]:
        """The pooled feature of every clip; `train` changes nothing, there is no dropout."""
        if self.norm not in ("after_mean", "before_mean", "none"):
            raise ValueError(f"norm is 'after_mean', 'before_mean' or 'none', not {self.norm!r}")
        window = (self.tube, self.patch, self.patch)
        if any(n % k for n, k in zip(clips.shape[1:-1], window, strict=True)):
            raise ValueError(f"clips of {clips.shape[1:-1]} cannot be cut into tubes of {window}")
        pads = ((0, 0),) * 3
        x = Conv(self.width, window, window, pads, bias=True, dtype=self.dtype, name="patch")(clips)
        x = (x + self._positions(x.shape[1:-1]).astype(x.dtype)).reshape(x.shape[0], -1, self.width)
        if self.norm == "before_mean":
            return LayerNorm(self.eps, name="norm")(self._blocks(x).astype(jnp.float32)).mean(1)
        x = self._mean_of_blocks(x).astype(jnp.float32)
        return LayerNorm(self.eps, name="fc_norm")(x) if self.norm == "after_mean" else x

    def _blocks(self, x: Array) -> Array:
        blocks = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.depth)
        return blocks(self.heads, self.mlp, self.eps, self.dtype, name="blocks")(x, None)[0]

    def _mean_of_blocks(self, x: Array) -> Array:
        """The mean [B, D] of what the last block makes."""
        if self.is_initializing():
            return self._blocks(x).mean(1)
        stacked: Any = self.get_variable("params", "blocks")
        block = Block(self.heads, self.mlp, self.eps, self.dtype, parent=None)

        def layer(i: int | Array) -> Any:
            return {"params": jax.tree.map(lambda weights: weights[i], stacked)}

        x, _ = jax.lax.scan(lambda x, i: block.apply(layer(i), x), x, jnp.arange(self.depth - 1))
        return block.apply(layer(-1), x, mean=True)[0][:, 0]

    def _positions(self, grid: tuple[int, ...]) -> Array:
        trained = (self.images // self.tube, self.side // self.patch, self.side // self.patch)
        table = jnp.asarray(positions(int(np.prod(trained)), self.width)).reshape(1, *trained, self.width)
        shape = (1, *grid, self.width)
        return table if grid == trained else jax.image.resize(table, shape, "linear", antialias=False)
