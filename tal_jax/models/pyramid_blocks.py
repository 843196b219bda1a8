"""Blocks of a pyramid's backbone: attention (ActionFormer), scalable granularity (TriDet), max pooling (TemporalMaxer).

A block turns [B, T, C] of one level into the same of this level, or of the one above it (`halve`). What stands where a
level's `seen` is False is zero before and after every block.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.models.convolution import masked
from tal_jax.models.dropout import Dropout
from tal_jax.models.pyramid import Level
from tal_jax.ops.attention import global_attention, local_attention
from tal_jax.ops.depthwise import depthwise_conv1d, max_pool1d
from tal_jax.types import Array

NORM_GROUPS = 16  # of TriDet's group norm
PATH_SCALE = 1e-4  # at which a residual path begins
UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=-2)  # PyTorch's own of convolutions


def layer_norm(name: str) -> nn.LayerNorm:
    """Layer norm over channels in float32, with the variance of centred values: inputs may be far from 0."""
    return nn.LayerNorm(epsilon=1e-5, dtype=jnp.float32, use_fast_variance=False, name=name)


def dense(features: int, dtype: Any, name: str) -> nn.Dense:
    """A layer on every snippet that starts as PyTorch's convolutions of one tap do."""
    return nn.Dense(features, dtype=dtype, kernel_init=UNIFORM, name=name)


class Depthwise(nn.Module):
    """A convolution of each channel by itself."""

    taps: int
    stride: int = 1
    bias: bool = False
    start: nn.initializers.Initializer = UNIFORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B _ C"]:
        """Applies it in the type of x."""
        kernel = self.param("kernel", self.start, (self.taps, x.shape[-1]))
        y = depthwise_conv1d(x, jnp.asarray(kernel, x.dtype), self.stride)
        if self.bias:
            y = y + jnp.asarray(self.param("bias", nn.initializers.zeros, x.shape[-1:]), x.dtype)[None, None]
        return y


class ResidualPath(nn.Module):
    """A learnt scale for each channel, and in training the whole path of a row dropped at random (stochastic depth)."""

    dropout: float
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B T C"]:
        """Needs a `dropout` rng where it drops."""
        scale = self.param("scale", nn.initializers.constant(PATH_SCALE), x.shape[-1:])
        x = x * jnp.asarray(scale, x.dtype)[None, None]
        if not self.train or self.dropout == 0:
            return x
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.dropout, (len(x), 1, 1))
        return jnp.where(kept, x / jnp.asarray(1 - self.dropout, x.dtype), jnp.zeros((), x.dtype))


class FeedForward(nn.Module):
    """Two layers on every snippet with an exact GELU between them."""

    hidden: int
    dropout: float
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B T C"]:
        """Applies it in the type of x."""
        drop = Dropout(self.dropout, deterministic=not self.train)
        y = dense(self.hidden, x.dtype, "ffn_in")(x)
        y = drop(nn.gelu(y, approximate=False))
        return drop(dense(x.shape[-1], x.dtype, "ffn_out")(y))


class AttentionBlock(nn.Module):
    """ActionFormer's block (Zhang et al. 2022, arXiv:2202.07925): o = skip + path(attention(LN x)) + path(MLP(LN o)).

    Queries, keys and values come from a depthwise convolution of three taps each, which also halves the resolution;
    the skip is then a max pool.
    """

    heads: int
    window: int  # snippets of this block's output that a query sees around itself; up to 1: all of them
    ffn: int
    halve: bool = False
    dropout: float = 0.0
    path_dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"], level: Level, train: bool) -> tuple[Float[Array, "B _ C"], Level]:
        """The block's output and its level; train: dropout on, needs a `dropout` rng."""
        channels = x.shape[-1]
        if channels % self.heads:
            raise ValueError(f"{channels} channels do not divide into {self.heads} heads")
        above = level.halved() if self.halve else level
        h = masked(layer_norm("norm1")(x).astype(x.dtype), level.seen)

        def projected(name: str) -> Array:
            y = masked(Depthwise(3, 1 + self.halve, name=f"{name}_conv")(h), above.real)
            y = layer_norm(f"{name}_norm")(y).astype(x.dtype)
            y = dense(channels, x.dtype, name)(y)
            return y.reshape((*y.shape[:-1], self.heads, -1))

        q, k, v = projected("query"), projected("key"), projected("value")
        scale = (channels // self.heads) ** -0.5
        if self.window > 1:
            found = local_attention(q, k, v, above.real, window=self.window | 1, scale=scale)
        else:
            found = global_attention(q, k, v, above.real, scale=scale)
        found = dense(channels, x.dtype, "out")(found.reshape((*found.shape[:2], channels)))
        found = Dropout(self.dropout, deterministic=not train)(found)
        skip = pooled(x, level) if self.halve else x
        o = masked(skip, above.real) + ResidualPath(self.path_dropout, train, name="path1")(masked(found, above.real))
        y = FeedForward(self.ffn, self.dropout, train, name="mlp")(layer_norm("norm2")(o).astype(x.dtype))
        return o + ResidualPath(self.path_dropout, train, name="path2")(masked(y, above.real)), above


class GranularityBlock(nn.Module):
    """TriDet's scalable-granularity perception (Shi et al. 2023, arXiv:2303.07347) in the place of attention.

    y = fc(h) relu(fc(mean of h over time)) + (conv_w(h) + conv_kw(h)) psi(h) + h with h = LN(x), all channel by
    channel; then a feed-forward net behind a group norm. Nothing is masked inside but by what a level sees.
    """

    window: int  # w, taps of the short convolution
    factor: float  # k: the long one has about k (w + 1) taps
    ffn: int
    halve: bool = False
    residual_paths: bool = True  # scaled, and dropped at random
    deviation: float = 0.0  # of the depthwise kernels at the start
    path_dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"], level: Level, train: bool) -> tuple[Float[Array, "B _ C"], Level]:
        """The block's output and its level; train: needs a `dropout` rng where paths are dropped."""
        above = level.halved() if self.halve else level
        if self.halve:
            x = masked(pooled(x, level), above.seen)
        start = nn.initializers.normal(self.deviation)
        h = masked(layer_norm("norm1")(x).astype(x.dtype), above.seen)
        long = round((self.window + 1) * self.factor) | 1

        def conv(name: str, taps: int, y: Array) -> Array:
            return Depthwise(taps, bias=True, start=start, name=name)(y)

        mean = _mean_over_time(h, above).astype(x.dtype)
        whole = nn.relu(conv("global_fc", 1, mean[:, None]))
        local = conv("conv_w", self.window, h) + conv("conv_kw", long, h)
        y = conv("fc", 1, h) * whole + local * conv("psi", self.window, h) + h
        o = masked(masked(x, above.real) + self._path("path1", y, train), above.seen)
        normed = GroupNorm(NORM_GROUPS, name="norm2")(o, above).astype(x.dtype)
        y = FeedForward(self.ffn, 0.0, train, name="mlp")(normed)
        return masked(o + self._path("path2", y, train), above.seen), above

    def _path(self, name: str, y: Array, train: bool) -> Array:
        return ResidualPath(self.path_dropout, train, name=name)(y) if self.residual_paths else y


class PoolBlock(nn.Module):
    """TemporalMaxer's block (Tang et al. 2023, arXiv:2303.09055): a max pool that halves the resolution, no more."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"], level: Level, train: bool) -> tuple[Float[Array, "B _ C"], Level]:
        """The pooled level above."""
        del train
        above = level.halved()
        return masked(pooled(x, level), above.real), above


class GroupNorm(nn.Module):
    """Group norm over channels of a group and what a level sees of time, in float32."""

    groups: int
    affine: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T C"], level: Level) -> Float32[Array, "B T C"]:
        """Normalises x."""
        b, t, c = x.shape
        if c % self.groups:
            raise ValueError(f"{c} channels do not divide into {self.groups} groups")
        wide = x.astype(jnp.float32).reshape(b, t, self.groups, -1)
        seen = level.seen[:, :, None, None]
        count = jnp.maximum(jnp.sum(level.seen, axis=1, dtype=jnp.float32), 1.0) * (c // self.groups)

        def mean(values: Array) -> Array:
            return jnp.sum(jnp.where(seen, values, 0.0), (1, 3), keepdims=True) / count[:, None, None, None]

        centred = wide - mean(wide)
        y = (centred * jax.lax.rsqrt(mean(centred**2) + 1e-5)).reshape(b, t, c)
        if self.affine:
            scale = self.param("scale", nn.initializers.ones, (c,))
            y = y * scale[None, None] + self.param("bias", nn.initializers.zeros, (c,))[None, None]
        return y


def pooled(x: Float[Array, "B T C"], level: Level) -> Float[Array, "B _ C"]:
    """The largest of three values around every second snippet, of those that the level sees; where it sees none, 0."""
    low = jnp.asarray(-jnp.inf, x.dtype)
    y = max_pool1d(jnp.where(level.seen[..., None], x, low), 3, 2)
    return jnp.where(y == low, jnp.zeros((), x.dtype), y)


def _mean_over_time(x: Array, level: Level) -> Array:
    count = jnp.maximum(jnp.sum(level.seen, axis=1, dtype=jnp.float32), 1.0)
    return jnp.sum(jnp.where(level.seen[..., None], x.astype(jnp.float32), 0.0), axis=1) / count[:, None]
