"""Layers of the encoders: convolutions, batch norms and pools over any number of axes before the channels.

Padding is symmetric, (k - 1) / 2 zeros on both sides of an axis, as in PyTorch; `padding="same"` is TensorFlow's, which
puts an odd zero on the far side, and "ceil" pads the far side only until every place is in a window, as PyTorch's
pools with ceil_mode do. Max pools are padded with -inf. Parameters are float32, convolutions run in `dtype`, norms and
averages of features in float32.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from tal_jax.encoders.convolve import convolve
from tal_jax.encoders.layers_gradients import largest, normalised
from tal_jax.types import Array

Axes = tuple[int, ...]
TORCH_EPS = 1e-5
TORCH_MOMENTUM = 0.1  # of the newest batch, as PyTorch counts


def paddings(
    padding: str | Sequence[tuple[int, int]], sizes: Axes, window: Axes, strides: Axes
) -> list[tuple[int, int]]:
    """Zeros before and after every axis: as given, or "symmetric", "same" or "ceil" as in the module's docstring."""
    if padding == "symmetric":
        return [((k - 1) // 2, (k - 1) // 2) for k in window]
    if padding == "same":
        totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, window, strides, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    if padding == "ceil":
        return [(0, max(-(-(n - k) // s), 0) * s + k - n) for n, k, s in zip(sizes, window, strides, strict=True)]
    if isinstance(padding, str):
        raise ValueError(f"padding is 'symmetric', 'same', 'ceil' or pairs of numbers, not {padding!r}")
    return list(padding)


class Conv(nn.Module):
    """Convolution of [B, *axes, C] with a window over all axes, in `dtype`."""

    features: int
    window: Axes
    strides: Axes | None = None  # 1 by default
    padding: str | Sequence[tuple[int, int]] = "symmetric"
    groups: int = 1
    bias: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B *axes C"]) -> Float[Array, "B *_ {self.features}"]:
        """Applies the convolution."""
        shape = (*self.window, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(in_axis=tuple(range(len(shape) - 1))), shape)
        strides = self.strides or (1,) * len(self.window)
        pads = paddings(self.padding, x.shape[1:-1], self.window, strides)
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), strides, pads, self.groups)
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
        return y


class BatchNorm(nn.Module):
    """Batch norm over all axes but the channels, in float32, given back in the type of its input.

    It uses the frozen statistics of the collection "batch_stats", or with train=True those of the batch, and then moves
    the frozen ones by `momentum` towards them (with the unbiased variance, as PyTorch does).
    """

    eps: float = TORCH_EPS
    momentum: float = TORCH_MOMENTUM

    @nn.compact
    def __call__(self, x: Float[Array, "*B C"], train: bool = False) -> Float[Array, "*B C"]:
        """Normalises x."""
        width = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, width)
        bias = self.param("bias", nn.initializers.zeros, width)
        mean = self.variable("batch_stats", "mean", jnp.zeros, width)
        var = self.variable("batch_stats", "var", jnp.ones, width)
        if train:
            y, m, v = normalised(x, scale, bias, self.eps)
            if not self.is_initializing():
                count = x.size // x.shape[-1]
                mean.value += self.momentum * (m - mean.value)
                var.value += self.momentum * (v * (count / max(count - 1, 1)) - var.value)
            return y
        m, v = mean.value, var.value
        factor = scale * jax.lax.rsqrt(v + self.eps)
        row = (1,) * (x.ndim - 1) + (-1,)
        return (x.astype(jnp.float32) * factor.reshape(row) + (bias - m * factor).reshape(row)).astype(x.dtype)


class ConvNorm(nn.Module):
    """A convolution, its batch norm, and an activation, if any: the brick of most networks."""

    features: int
    window: Axes
    strides: Axes | None = None
    padding: str | Sequence[tuple[int, int]] = "symmetric"
    groups: int = 1
    eps: float = TORCH_EPS
    momentum: float = TORCH_MOMENTUM
    act: Callable[[Any], Any] | None = nn.relu
    bias: bool = False  # of the convolution
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B *axes C"], train: bool = False) -> Float[Array, "B *_ {self.features}"]:
        """Applies the three."""
        conv = Conv(
            self.features, self.window, self.strides, self.padding, self.groups, self.bias, self.dtype, name="conv"
        )
        y = BatchNorm(self.eps, self.momentum, name="bn")(conv(x), train)
        return y if self.act is None else self.act(y)


def max_pool(
    x: Float[Array, "B *axes C"],
    window: Axes,
    strides: Axes | None = None,
    padding: str | Sequence[tuple[int, int]] = "symmetric",
) -> Float[Array, "B *_ C"]:
    """The largest value of every window; windows beyond the edge see -inf there."""
    strides = strides or (1,) * len(window)
    pads = paddings(padding, x.shape[1:-1], window, strides)
    return largest(x, tuple(window), tuple(strides), tuple((before, after) for before, after in pads))


def average_pool(
    x: Float[Array, "B *axes C"],
    window: Axes,
    strides: Axes | None = None,
    padding: str | Sequence[tuple[int, int]] = "symmetric",
    zeros: bool = True,
) -> Float[Array, "B *_ C"]:
    """The mean of every window, in float32, given back in the type of x; `zeros` beyond the edge count, or do not."""
    strides = strides or (1,) * len(window)
    pads = paddings(padding, x.shape[1:-1], window, strides)

    def sums(x: Array) -> Array:
        start = np.float32(0)
        return jax.lax.reduce_window(x, start, jax.lax.add, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))

    count = math.prod(window) if zeros else sums(jnp.ones((1, *x.shape[1:-1], 1), jnp.float32))
    return (sums(x.astype(jnp.float32)) / count).astype(x.dtype)


def mean_pool(x: Float[Array, "B *axes C"]) -> Float32[Array, "B C"]:
    """The mean over all axes between batch and channels, in float32."""
    return x.astype(jnp.float32).mean(tuple(range(1, x.ndim - 1)))


class Head(nn.Module):
    """The classifier that was trained on top of an encoder: logits of its classes from its feature."""

    classes: int
    bias: bool = True

    @nn.compact
    def __call__(self, features: Float[Array, "B D"]) -> Float32[Array, "B {self.classes}"]:
        """Logits."""
        return nn.Dense(self.classes, use_bias=self.bias, dtype=jnp.float32, name="dense")(features)
