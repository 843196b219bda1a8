"""The bottleneck of residual networks (He et al. 2016, arXiv:1512.03385), over images or over clips."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from tal_jax.encoders.layers import Axes, ConvNorm
from tal_jax.types import Array


class Bottleneck(nn.Module):
    """To `inner` channels, a spatial convolution, to `4 inner` channels; the spatial one has the stride ("v1.5").

    The window over time, if any, is that of the first convolution. Where shapes change the shortcut is a convolution.
    """

    inner: int
    stride: int = 1  # of rows and columns
    time: int | None = None  # images that the first convolution sees; None: the input is images, not clips
    before: Callable[[Array], Array] | None = None  # what the first convolution sees of the input; not the shortcut
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B *axes C"], train: bool = False) -> Float[Array, "B *out {4*self.inner}"]:
        """The block."""

        def window(side: int, time: int = 1) -> Axes:
            return (side, side) if self.time is None else (time, side, side)

        strides = window(self.stride)
        first = window(1, self.time or 1)
        y = x if self.before is None else self.before(x)
        y = ConvNorm(self.inner, first, dtype=self.dtype, name="conv1")(y, train)
        y = ConvNorm(self.inner, window(3), strides, dtype=self.dtype, name="conv2")(y, train)
        y = ConvNorm(4 * self.inner, window(1), act=None, dtype=self.dtype, name="conv3")(y, train)
        if self.stride > 1 or x.shape[-1] != 4 * self.inner:
            x = ConvNorm(4 * self.inner, window(1), strides, act=None, dtype=self.dtype, name="shortcut")(x, train)
        return nn.relu(x.astype(y.dtype) + y)
