"""EfficientNet-Lite: EfficientNet (Tan, Le 2019, arXiv:1905.11946) without squeeze and excitation, with ReLU6."""

import dataclasses
import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import ConvNorm, mean_pool
from tal_jax.types import Array

EPS = 1e-3
MOMENTUM = 0.01


@dataclasses.dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first has the stride."""

    blocks: int
    window: int
    stride: int
    expand: int
    width: int


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class InvertedResidual(nn.Module):
    """MBConv: 1x1 to `expand` times the width, a depthwise convolution, 1x1 to `width` without an activation."""

    window: int
    stride: int
    expand: int
    width: int
    padding: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B Y X C"], train: bool = False) -> Float[Array, "B _ _ {self.width}"]:
        """The block, with its shortcut where the shapes are the same."""
        brick = functools.partial(ConvNorm, padding=self.padding, eps=EPS, momentum=MOMENTUM, dtype=self.dtype)
        inner = x.shape[-1] * self.expand
        y = x
        if self.expand > 1:
            y = brick(inner, (1, 1), act=nn.relu6, name="expand")(y, train)
        square, strides = (self.window,) * 2, (self.stride,) * 2
        y = brick(inner, square, strides, groups=inner, act=nn.relu6, name="depthwise")(y, train)
        y = brick(self.width, (1, 1), act=None, name="project")(y, train)
        return x + y if self.stride == 1 and self.width == x.shape[-1] else y


class EfficientNetLite(nn.Module):
    """Features of images; a clip's feature is the mean of its images'.

    Lite0 by default. padding="same" is TensorFlow's, which the published weights were trained with.
    """

    stages: tuple[Stage, ...] = LITE0
    stem: int = 32
    width: int = 1280  # D
    padding: str = "same"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B {self.width}"]:
        """The pooled feature of every clip."""
        brick = functools.partial(
            ConvNorm, padding=self.padding, eps=EPS, momentum=MOMENTUM, act=nn.relu6, dtype=self.dtype
        )
        batch, images = clips.shape[:2]
        x = clips.reshape(batch * images, *clips.shape[2:])
        x = brick(self.stem, (3, 3), (2, 2), name="stem")(x, train)
        number = 0
        for stage in self.stages:
            for i in range(stage.blocks):
                block = InvertedResidual(
                    stage.window,
                    stage.stride if i == 0 else 1,
                    stage.expand,
                    stage.width,
                    self.padding,
                    self.dtype,
                    name=f"block{number}",
                )
                x, number = block(x, train), number + 1
        x = brick(self.width, (1, 1), name="top")(x, train)
        return mean_pool(x).reshape(batch, images, -1).mean(1)
