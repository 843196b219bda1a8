"""ActionFormer and its kin: one network from features to classes and boundaries at every point of a pyramid."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32

from tal_jax.models.convolution import masked
from tal_jax.models.pyramid import Level, Points, padded_length, seen_snippets, side_by_side
from tal_jax.models.pyramid_blocks import (
    AttentionBlock,
    GranularityBlock,
    GroupNorm,
    PoolBlock,
    dense,
    layer_norm,
)
from tal_jax.models.pyramid_heads import ConvNormRelu, Heads
from tal_jax.types import Array

POOL_NORM_GROUPS = 4  # of TemporalMaxer's neck
BACKBONES = ("attention", "granularity", "pool")


@flax.struct.dataclass
class PyramidOutput:
    """What the network says at the M points of all levels, see `pyramid.Points`; D is 1, or K: distances by class."""

    class_logits: Float32[Array, "B M K"]
    distances: Float32[Array, "B M D 2"]  # to start and end, in units of the point's stride
    mask: Bool[Array, "B M"]  # the point exists


class ActionFormer(nn.Module):
    """ActionFormer (Zhang et al. 2022, arXiv:2202.07925), with the parts of TriDet and TemporalMaxer as options.

    Convolutions embed the features; `stem_blocks` blocks work at full resolution, one more for each further level
    halves it; heads that all levels share give classes and distances.

    released=0: nothing looks at padding, and it changes no result. released=R: as the published code with
    `max_seq_len` R does, which looks at padding up to a length that the recording's decides; for its checkpoints.
    """

    num_classes: int
    hidden: int = 512
    levels: int = 6
    backbone: str = "attention"  # or granularity (TriDet), pool (TemporalMaxer)
    embedding_layers: int = 2
    stem_blocks: int = 2
    heads: int = 4
    windows: tuple[int, ...] = (19,)  # of attention, level by level, the last for all further ones; up to 1: global
    ffn: int = 2048
    kernel: int = 1  # w of granularity
    kernel_factor: float = 5.0  # k of granularity
    kernel_deviation: float = 0.0  # of the depthwise kernels of granularity at the start
    head_hidden: int = 0  # 0: hidden
    head_layers: int = 3
    head_taps: int = 3
    bins: int = 0  # above 0, of TriDet's trident head
    boundary_taps: int = 3
    neck: str = "layer"  # norm before the heads; or group, of 4 groups without weights
    position: bool = False  # positions are added to the embedding
    stream_hidden: tuple[int, ...] = ()  # channels that each stream is projected to before
    stream_widths: tuple[int, ...] = ()  # read with stream_hidden
    dropout: float = 0.0
    path_dropout: float = 0.1
    released: int = 0
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self):
        """Checks what the types do not."""
        if self.backbone not in BACKBONES:
            raise ValueError(f"model.backbone is one of {', '.join(BACKBONES)}, not {self.backbone!r}")
        if self.neck not in ("layer", "group"):
            raise ValueError(f"model.neck is 'layer' or 'group', not {self.neck!r}")
        if self.levels < 1 or not self.windows:
            raise ValueError("model.levels is at least 1, and model.windows has at least one entry")
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Float[Array, "B T C"], mask: Bool[Array, "B T"], *, train: bool) -> PyramidOutput:
        """What the network says of every point; train: dropout on, needs a `dropout` rng.

        T is padded to the next multiple of 2^(levels - 1), with `released` to the length that the published code pads
        to; M counts the points of that length.
        """
        t = features.shape[1]
        length = self.length(t)
        pad = ((0, 0), (0, length - t))
        x: Array = jnp.pad(features.astype(self.dtype), (*pad, (0, 0)))
        mask = jnp.pad(jnp.asarray(mask), pad)
        level = Level(mask, seen_snippets(mask, self.released, self._multiple))
        x = masked(x, level.real)
        if self.stream_hidden:
            x = self._projected(x, level)
        for layer in range(self.embedding_layers):
            x = ConvNormRelu(self.hidden, name=f"embedding{layer}")(x, level.real, level.seen)
        if self.position:
            at = _positions(length, self.hidden, level, self.released).astype(x.dtype)
            x = x + masked(jnp.broadcast_to(at, x.shape), level.real)
        x = masked(x, level.seen)
        levels, seen = [], []
        for block in range(self.stem_blocks):
            x, level = self._block(0, f"stem{block}")(x, level, train)
        for depth in range(self.levels):
            if depth:
                x, level = self._block(depth, f"branch{depth}")(x, level, train)
            levels.append(self._normed(x, level, depth))
            seen.append(level)
        gap = max(self.head_taps, self.boundary_taps) // 2
        counts = [y.shape[1] for y in levels]
        logits, distances = Heads(
            self.num_classes, self.head_hidden or self.hidden, self.head_layers, self.head_taps, self.bins,
            self.boundary_taps, name="heads",
        )(
            side_by_side(levels, gap),
            side_by_side([own.real for own in seen], gap),
            side_by_side([own.seen for own in seen], gap),
            counts,
            gap,
        )  # fmt: skip
        return PyramidOutput(logits, distances, jnp.concatenate([own.real for own in seen], axis=1))

    def points(self, snippets: int) -> Points:
        """Those of rows of T snippets."""
        return Points.of(self.length(snippets), self.levels)

    def length(self, snippets: int) -> int:
        """The length that rows of T snippets are padded to."""
        if self.released:
            step = self._multiple
            snippets = self.released if snippets <= self.released else -(-snippets // step) * step
        return padded_length(snippets, self.levels)

    def window(self, level: int) -> int:
        """Of the attention at a level."""
        return self.windows[min(level, len(self.windows) - 1)]

    @property
    def _multiple(self) -> int:
        """The released code's `max_div_factor`, a multiple of which it pads to."""
        if self.backbone == "pool":
            return 1 << (self.levels - 1)
        spans = [self.window(level) if self.backbone == "attention" else self.kernel for level in range(self.levels)]
        if self.backbone == "attention":
            spans = [2 * (span // 2) if span > 1 else 1 for span in spans]
        return max(span << level for level, span in enumerate(spans))

    def _projected(self, x: Array, level: Level) -> Array:
        if len(self.stream_widths) != len(self.stream_hidden):
            raise ValueError(
                f"model.stream_hidden has {len(self.stream_hidden)} entries for {len(self.stream_widths)} streams"
            )
        parts = jnp.split(x, np.cumsum(self.stream_widths)[:-1], axis=-1)
        found = [
            dense(width, x.dtype, f"stream{i}")(part)
            for i, (part, width) in enumerate(zip(parts, self.stream_hidden, strict=True))
        ]
        return masked(jnp.concatenate(found, axis=-1), level.real)

    def _block(self, depth: int, name: str) -> Any:
        halve = depth > 0
        if self.backbone == "pool" and halve:
            return PoolBlock(name=name)
        if self.backbone == "granularity":
            kernel, paths = (self.kernel, True) if halve else (1, False)
            return GranularityBlock(
                kernel, self.kernel_factor, self.ffn, halve, paths, self.kernel_deviation, self.path_dropout, name=name
            )
        return AttentionBlock(
            self.heads, self.window(depth), self.ffn, halve, self.dropout, self.path_dropout, name=name
        )

    def _normed(self, x: Array, level: Level, depth: int) -> Array:
        if self.neck == "layer":
            return layer_norm(f"neck{depth}")(x).astype(x.dtype)
        return GroupNorm(POOL_NORM_GROUPS, affine=False, name=f"neck{depth}")(x, level).astype(x.dtype)


def _positions(length: int, channels: int, level: Level, released: int) -> Float32[Array, "#B T C"]:
    """Sines and cosines of the position / 10000^(2 (c // 2) / C), of length C^-1/2.

    As published they are stretched where a recording is longer than the training's frame.
    """
    at: Array = np.arange(length, dtype=np.float32)[None]
    if released and length > released:
        reach = jnp.sum(level.seen, axis=1, dtype=jnp.float32)[:, None]
        at = jnp.clip((at + 0.5) * (released / reach) - 0.5, 0, released - 1)
        low = jnp.floor(at)
        high = jnp.minimum(low + 1, released - 1)
        part = (at - low)[..., None]
        return _sinusoids(low, channels) * (1 - part) + _sinusoids(high, channels) * part
    return _sinusoids(jnp.asarray(at), channels)


def _sinusoids(at: Float32[Array, "#B T"], channels: int) -> Float32[Array, "#B T C"]:
    pair = 2 * (np.arange(channels) // 2)
    angle = at[..., None] * (10000.0 ** (-pair / channels)).astype(np.float32)[None, None]
    even = (np.arange(channels) % 2 == 0)[None, None]
    return jnp.where(even, jnp.sin(angle), jnp.cos(angle)) * np.float32(channels**-0.5)
