"""P3D: residual networks of clips whose windows see either places or times (Qiu et al. 2017, arXiv:1711.10305)."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import ConvNorm, max_pool, mean_pool
from tal_jax.types import Array

IMAGES = 16  # of a clip: four pools leave one of them for the last stage, which sees images
ORDERS = "ABC"  # of the blocks, in turn


class Block(nn.Module):
    """A bottleneck whose inner convolution is S over places and T over times, in the order of its letter.

    A: T(S(x)). B: S(x) + T(x). C: S(x) + T(S(x)). "": of images, S alone. The first convolution has the stride.
    """

    inner: int
    stride: int
    order: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B *axes C"], train: bool = False) -> Float[Array, "B *out {4*self.inner}"]:
        """The block; the inner convolutions are added after their ReLUs."""
        brick = functools.partial(ConvNorm, dtype=self.dtype)
        time = (1,) if self.order else ()
        one, strides = (*time, 1, 1), (*time, self.stride, self.stride)
        y = brick(self.inner, one, strides, name="conv1")(x, train)
        space = brick(self.inner, (*time, 3, 3), name="space")(y, train)
        if self.order:
            over_time = brick(self.inner, (3, 1, 1), name="time")(y if self.order == "B" else space, train)
            y = over_time if self.order == "A" else space + over_time
        else:
            y = space
        y = brick(4 * self.inner, one, act=None, name="conv4")(y, train)
        if self.stride > 1 or x.shape[-1] != 4 * self.inner:
            x = brick(4 * self.inner, one, strides, act=None, name="shortcut")(x, train)
        return nn.relu(x.astype(y.dtype) + y)


class P3D(nn.Module):
    """The feature is the mean over the last stage's places; D = 32 width. Clips have 16 images, no more and no less."""

    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks of the stages: 63 layers
    width: int = 64  # of the first convolution
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B D"]:
        """The pooled feature of every clip."""
        if clips.shape[1] != IMAGES:
            raise ValueError(f"a clip of P3D has {IMAGES} images, not {clips.shape[1]}")
        x = ConvNorm(self.width, (1, 7, 7), (1, 2, 2), dtype=self.dtype, name="stem")(clips, train)
        x = max_pool(x, (2, 3, 3), (2, 2, 2), ((0, 0), (1, 1), (1, 1)))
        number = 0  # counted through all stages
        for i, blocks in enumerate(self.depths):
            of_images = i == len(self.depths) - 1
            if of_images:
                x = x[:, 0]
            for j in range(blocks):
                order = "" if of_images else ORDERS[number % len(ORDERS)]
                block = Block(self.width * 2**i, 2 if i and not j else 1, order, self.dtype, name=f"layer{i + 1}_{j}")
                x, number = block(x, train), number + 1
            if not of_images:
                x = max_pool(x, (2, 1, 1), (2, 1, 1), "ceil")
        return mean_pool(x)
