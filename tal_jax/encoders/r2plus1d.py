"""R(2+1)D: convolutions over space, then over time (Tran et al. 2018, arXiv:1711.11248), of 34 layers as TSP uses it.

TSP is Alwassel et al. 2021, arXiv:2011.11479.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import ConvNorm, mean_pool
from tal_jax.types import Array

STEM = 45  # channels between the stem's two convolutions


def between(inputs: int, outputs: int) -> int:
    """Channels between the two convolutions that take the place of one of 3 x 3 x 3: no more parameters than it has."""
    return 27 * inputs * outputs // (9 * inputs + 3 * outputs)


class Factored(nn.Module):
    """3 x 3 over space, batch norm, ReLU, 3 over time, batch norm, and ReLU where `act`."""

    features: int
    middle: int
    stride: int
    act: bool
    eps: float
    momentum: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B F Y X C"], train: bool = False) -> Float[Array, "B _ _ _ {self.features}"]:
        """Applies them."""
        brick = functools.partial(ConvNorm, eps=self.eps, momentum=self.momentum, dtype=self.dtype)
        x = brick(self.middle, (1, 3, 3), (1, self.stride, self.stride), name="space")(x, train)
        act = nn.relu if self.act else None
        return brick(self.features, (3, 1, 1), (self.stride, 1, 1), act=act, name="time")(x, train)


class R2Plus1D(nn.Module):
    """A residual network of basic blocks; D = 8 width.

    middle="own": the width between a pair's convolutions follows from that pair's own channels, as in TSP; "block":
    from those of the block's first pair, as in torchvision.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    middle: str = "own"
    eps: float = 1e-3
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B D"]:
        """The pooled feature of every clip."""
        if self.middle not in ("own", "block"):
            raise ValueError(f"middle is 'own' or 'block', not {self.middle!r}")
        brick = functools.partial(ConvNorm, eps=self.eps, momentum=self.momentum, dtype=self.dtype)
        factored = functools.partial(Factored, eps=self.eps, momentum=self.momentum, dtype=self.dtype)
        x = brick(STEM, (1, 7, 7), (1, 2, 2), name="stem_space")(clips, train)
        x = brick(self.width, (3, 1, 1), name="stem_time")(x, train)
        for i, blocks in enumerate(self.depths):
            width = self.width * 2**i
            for j in range(blocks):
                name, stride = f"layer{i + 1}_{j}", 2 if i and not j else 1
                first, second = between(x.shape[-1], width), between(width, width)
                second = second if self.middle == "own" else first
                y = factored(width, first, stride, True, name=f"{name}_conv1")(x, train)
                y = factored(width, second, 1, False, name=f"{name}_conv2")(y, train)
                if stride > 1 or x.shape[-1] != width:
                    x = brick(width, (1, 1, 1), (stride,) * 3, act=None, name=f"{name}_shortcut")(x, train)
                x = nn.relu(x.astype(y.dtype) + y)
        return mean_pool(x)
