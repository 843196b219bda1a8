"""I3D: Inception inflated to clips (Carreira, Zisserman 2017, arXiv:1705.07750), with TensorFlow's padding."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import ConvNorm, max_pool
from tal_jax.types import Array

EPS = 1e-3
MOMENTUM = 0.01
LEAST = 9  # images, of which two steps of time are left at the end
# Channels of a block's branches: 1 | 1, 3 | 1, 3 | pool, 1.
MIXED = {
    "3b": (64, 96, 128, 16, 32, 32), "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64), "4c": (160, 112, 224, 24, 64, 64), "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64), "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128), "5c": (384, 192, 384, 48, 128, 128),
}  # fmt: skip
STAGES = (("3b", "3c"), ("4b", "4c", "4d", "4e", "4f"), ("5b", "5c"))
POOLS: dict[int, tuple[int, int]] = {1: (3, 2), 2: (2, 2)}  # window and stride before the later stages


class Mixed(nn.Module):
    """The four branches of an Inception block."""

    widths: tuple[int, ...]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B F Y X C"], train: bool = False) -> Float[Array, "B F Y X _"]:
        """The branches' channels, one after the other."""

        def unit(name: str, width: int, side: int, x: Array) -> Array:
            brick = ConvNorm(width, (side,) * 3, None, "same", 1, EPS, MOMENTUM, dtype=self.dtype, name=name)
            return brick(x, train)

        first, reduced1, second, reduced2, third, fourth = self.widths
        pooled = max_pool(x, (3, 3, 3), None, "same")
        branches = [
            unit("b0", first, 1, x),
            unit("b1b", second, 3, unit("b1a", reduced1, 1, x)),
            unit("b2b", third, 3, unit("b2a", reduced2, 1, x)),
            unit("b3b", fourth, 1, pooled),
        ]
        return jnp.concatenate(branches, -1)


class I3D(nn.Module):
    """D = 1024: the mean over places, then over pairs of neighbouring steps of time, as the published network ends.

    A step is 8 images, so that the first and the last count half; a clip has 9 images at least.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B D"]:
        """The pooled feature of every clip."""
        if clips.shape[1] < LEAST:
            raise ValueError(f"a clip of I3D has {LEAST} images at least, not {clips.shape[1]}")
        brick = functools.partial(ConvNorm, padding="same", eps=EPS, momentum=MOMENTUM, dtype=self.dtype)
        x = brick(64, (7, 7, 7), (2, 2, 2), name="conv1a")(clips, train)
        x = max_pool(x, (1, 3, 3), (1, 2, 2), "same")
        x = brick(64, (1, 1, 1), name="conv2b")(x, train)
        x = brick(192, (3, 3, 3), name="conv2c")(x, train)
        x = max_pool(x, (1, 3, 3), (1, 2, 2), "same")
        for i, stage in enumerate(STAGES):
            if i in POOLS:
                window, stride = POOLS[i]
                x = max_pool(x, (window,) * 3, (stride,) * 3, "same")
            for name in stage:
                x = Mixed(MIXED[name], self.dtype, name=f"mixed{name}")(x, train)
        steps = x.astype(jnp.float32).mean((2, 3))
        return ((steps[:, 1:] + steps[:, :-1]) / 2).mean(1)
