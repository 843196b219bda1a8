"""BN-Inception (Ioffe, Szegedy 2015, arXiv:1502.03167), as TSN uses it (Wang et al. 2016, arXiv:1608.00859)."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import ConvNorm, average_pool, max_pool, mean_pool
from tal_jax.types import Array

MOMENTUM = 0.9  # statistics are nearly those of the newest batch
# Channels of a block's branches: 1 | reduced, 3 | reduced, 3, 3 | pool, 1. Without the first one it halves rows and
# columns, and hands its pooled input on as it is.
MIXED = {
    "3a": (64, 64, 64, 64, 96, 32), "3b": (64, 64, 96, 64, 96, 64), "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128), "4b": (192, 96, 128, 96, 128, 128), "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128), "4e": (0, 128, 192, 192, 256, 0), "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}  # fmt: skip
HALVED = 32  # rows and columns, all in all


class Mixed(nn.Module):
    """The branches of an Inception block, one after the other in the channels."""

    widths: tuple[int, ...]
    largest: bool = False  # the pool takes the largest value where the block does not halve, too
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N Y X C"], train: bool = False) -> Float[Array, "N _ _ _"]:
        """The block; bricks have their released names."""

        def unit(name: str, x: Array, width: int, side: int = 3, stride: int = 1) -> Array:
            window, strides = (side, side), (stride, stride)
            brick = ConvNorm(width, window, strides, momentum=MOMENTUM, bias=True, dtype=self.dtype, name=name)
            return brick(x, train)

        first, reduced, single, double_reduced, double, pooled = self.widths
        stride = 1 if first else 2
        y = unit("double_3x3_1", unit("double_3x3_reduce", x, double_reduced, 1), double)
        branches = [
            unit("3x3", unit("3x3_reduce", x, reduced, 1), single, 3, stride),
            unit("double_3x3_2", y, double, 3, stride),
        ]
        if not first:
            return jnp.concatenate([*branches, max_pool(x, (3, 3), (2, 2), "ceil")], -1)
        pool = max_pool if self.largest else average_pool
        return jnp.concatenate([unit("1x1", x, first, 1), *branches, unit("pool_proj", pool(x, (3, 3)), pooled, 1)], -1)


class BNInception(nn.Module):
    """D = 1024: the mean over places and images, of sides that are multiples of 32."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B 1024"]:
        """The pooled feature of every clip."""
        batch, images, rows, columns, _ = clips.shape
        if rows % HALVED or columns % HALVED:
            raise ValueError(f"BN-Inception sees sides that are multiples of {HALVED}, not {rows} x {columns}")
        brick = functools.partial(ConvNorm, momentum=MOMENTUM, bias=True, dtype=self.dtype)
        x = clips.reshape(batch * images, *clips.shape[2:])
        x = brick(64, (7, 7), (2, 2), name="conv1_7x7_s2")(x, train)
        x = max_pool(x, (3, 3), (2, 2), "ceil")
        x = brick(64, (1, 1), name="conv2_3x3_reduce")(x, train)
        x = brick(192, (3, 3), name="conv2_3x3")(x, train)
        x = max_pool(x, (3, 3), (2, 2), "ceil")
        for name, widths in MIXED.items():
            x = Mixed(widths, name == "5b", self.dtype, name=f"inception_{name}")(x, train)
        return mean_pool(x).reshape(batch, images, -1).mean(1)
