"""VideoPrism: a vision transformer over the places of each image, then over the images at each place.

Zhao et al. 2024, arXiv:2402.13217; the factorised encoder is the second model of ViViT (arXiv:2103.15691).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import Conv
from tal_jax.encoders.transformer import LayerNorm, attention, dense, gelu
from tal_jax.types import Array

CAP = 50.0  # of the attention's logits


class Layer(nn.Module):
    """A pre-norm layer, as `nn.scan` wants it; the scale of its norms is stored as the difference from 1."""

    heads: int
    mlp: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B N D"], _: None) -> tuple[Float[Array, "B N D"], None]:
        """Attention and MLP, each on top of what it reads."""
        width = x.shape[-1]
        y = LayerNorm(offset=1.0, name="norm1")(x)
        by_head = (*x.shape[:2], self.heads, width // self.heads)
        q, k, v = (dense(width, name, self.dtype)(y).reshape(by_head) for name in ("query", "key", "value"))
        x = x + dense(width, "post", self.dtype)(attention(q, k, v, CAP).reshape(x.shape))
        y = dense(self.mlp, "fc1", self.dtype)(LayerNorm(offset=1.0, name="norm2")(x))
        return x + dense(width, "fc2", self.dtype)(gelu(y)), None


class VideoPrism(nn.Module):
    """The feature is the mean over places and images; `images_of` gives one feature per image. Base by default.

    Images are RGB in [0, 1], without mean and std. Clips of another length or size than `images` and `side` get
    interpolated positions.
    """

    width: int = 768  # D
    spatial: int = 12  # layers
    temporal: int = 4
    heads: int = 12
    mlp: int = 3072
    patch: int = 18
    images: int = 16  # that it was trained with
    side: int = 288
    dtype: jnp.dtype = jnp.float32

    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B {self.width}"]:
        """The pooled feature of every clip; `train` changes nothing, there is no dropout."""
        return self.images_of(clips).mean(1)

    @nn.compact
    def images_of(self, clips: Float[Array, "B F Y X C"]) -> Float32[Array, "B F {self.width}"]:
        """One feature per image, which depends on the whole clip."""
        batch, images, *sides = clips.shape[:-1]
        if any(side % self.patch for side in sides):
            raise ValueError(f"images of {sides} cannot be cut into patches of {self.patch}")
        x = clips.reshape(batch * images, *clips.shape[2:])
        square = (self.patch, self.patch)
        x = Conv(self.width, square, square, ((0, 0),) * 2, bias=True, dtype=self.dtype, name="patch")(x)
        rows, columns = x.shape[1:3]
        x = (x + self._places(rows, columns).astype(x.dtype)).reshape(batch * images, rows * columns, self.width)
        x = self._layers(self.spatial, "spatial", x)
        x = x.reshape(batch, images, -1, self.width).swapaxes(1, 2).reshape(-1, images, self.width)
        x = self._layers(self.temporal, "temporal", x + self._times(images).astype(x.dtype))
        return x.astype(jnp.float32).reshape(batch, -1, images, self.width).mean(1)

    def _layers(self, count: int, name: str, x: Array) -> Array:
        layers = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=count)
        x, _ = layers(self.heads, self.mlp, self.dtype, name=f"{name}_layers")(x, None)
        return LayerNorm(offset=1.0, name=f"{name}_norm")(x)

    def _places(self, rows: int, columns: int) -> Array:
        side = self.side // self.patch
        table = self.param("spatial_positions", nn.initializers.normal(0.02), (side**2, self.width))
        table = table.reshape(1, side, side, self.width)
        shape = (1, rows, columns, self.width)
        return table if table.shape == shape else jax.image.resize(table, shape, "bilinear")

    def _times(self, images: int) -> Array:
        table = self.param("temporal_positions", nn.initializers.normal(0.02), (self.images, self.width))
        shape = (images, self.width)
        return (table if table.shape == shape else jax.image.resize(table, shape, "bilinear"))[None]
