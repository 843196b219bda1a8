"""ResNeSt (Zhang et al. 2020, arXiv:2004.08955): residual networks whose blocks weigh two halves of channels.

As TSN and TSM use residual networks, see `resnet`. No ResNeSt with TSM's shift is public: that it sits where a ResNet
has it, before the first convolution of a block, is this project's reading, unverified.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import BatchNorm, Conv, ConvNorm, average_pool, max_pool, mean_pool
from tal_jax.encoders.resnet import shifted, temporal_shift
from tal_jax.types import Array

HALVES = 2  # the paper's radix


class SplitAttention(nn.Module):
    """U0 and U1 of a convolution in two groups, mixed channel by channel by weights that are softmax over the two.

    The weights come from the mean of U0 + U1 over all places, through a layer of a quarter of the channels of both.
    """

    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N Y X C"], train: bool = False) -> Float[Array, "N Y X {self.width}"]:
        """The mixture."""
        both = HALVES * self.width
        y = Conv(both, (3, 3), groups=HALVES, dtype=self.dtype, name="conv")(x)
        y = nn.relu(BatchNorm(name="bn0")(y, train))
        first, second = y[..., : self.width], y[..., self.width :]
        means = mean_pool(first.astype(jnp.float32) + second.astype(jnp.float32))
        inner = nn.relu(BatchNorm(name="bn1")(nn.Dense(max(both // 4, 32), name="fc1")(means), train))
        logits = nn.Dense(both, name="fc2")(inner).reshape(-1, HALVES, self.width)
        weights = nn.softmax(logits, axis=1)[:, :, None, None].astype(y.dtype)
        return weights[:, 0] * first + weights[:, 1] * second


class Block(nn.Module):
    """A bottleneck with split attention; the first of a stage averages instead of striding, its shortcut as well."""

    inner: int
    stride: int
    first: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "N Y X C"], seen: Float[Array, "N Y X C"], train: bool = False
    ) -> Float[Array, "N _ _ {4*self.inner}"]:
        """The block; its first convolution sees `seen` in place of x."""
        brick = functools.partial(ConvNorm, window=(1, 1), dtype=self.dtype)
        strides = (self.stride, self.stride)
        y = brick(self.inner, name="conv1")(seen, train)
        y = SplitAttention(self.inner, self.dtype, name="conv2")(y, train)
        if self.stride > 1:
            y = average_pool(y, (3, 3), strides)
            x = average_pool(x, strides, strides, "ceil", zeros=False)
        y = brick(4 * self.inner, act=None, name="conv3")(y, train)
        if self.first:
            x = brick(4 * self.inner, act=None, name="shortcut")(x, train)
        return nn.relu(x.astype(y.dtype) + y)


class ResNeSt(nn.Module):
    """The feature is the mean over the places and images of a clip; D = 32 width."""

    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks of the stages: 50 layers
    stem: int = 32  # channels of the first two convolutions; the third has twice as many
    width: int = 64  # of the first stage's inner convolutions
    shift: bool = False  # TSM
    fold: int = 8
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B D"]:
        """The pooled feature of every clip."""
        batch, images = clips.shape[:2]
        x = clips.reshape(batch * images, *clips.shape[2:])
        for i, width in enumerate((self.stem, self.stem, 2 * self.stem)):
            strides = (1, 1) if i else (2, 2)
            x = ConvNorm(width, (3, 3), strides, dtype=self.dtype, name=f"stem{i}")(x, train)
        x = max_pool(x, (3, 3), (2, 2))
        for i, blocks in enumerate(self.depths):
            for j in range(blocks):
                moved = self.shift and shifted(self.depths, j)
                seen = temporal_shift(x, images, self.fold) if moved else x
                block = Block(self.width * 2**i, 2 if i and not j else 1, not j, self.dtype, name=f"layer{i + 1}_{j}")
                x = block(x, seen, train)
        return mean_pool(x).reshape(batch, images, -1).mean(1)
