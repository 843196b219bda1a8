"""One-stage, anchor-free pyramid detectors in plain PyTorch, as released: ActionFormer, TriDet and TemporalMaxer.

Own code after a description of the released networks; names of parameters are the released ones, without `module.`.
What a padded length does to the result is kept: see `padded_length`.
"""

import dataclasses
import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_onestage_attention import TransformerBlock
from benchmarks.torch_onestage_parts import ClassHead, DistanceHead, Identity, LayerNorm, MaskedConv, every
from benchmarks.torch_tridet import SGPBlock, trident


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Settings of a network; the defaults are ActionFormer's for THUMOS14.

    `inputs` has several widths where features are several streams one after the other, and `streams` what each is
    projected to; the pyramid has `branch` + 1 levels, and `windows` one entry for each of them (the first is that of
    all blocks of the stem): widths of attention, at most 1 for all, or kernels of SGP blocks.
    """

    inputs: tuple[int, ...] = (2048,)
    streams: tuple[int, ...] = ()
    width: int = 512
    heads: int = 4
    embedding: int = 2
    stem: int = 2
    branch: int = 5
    windows: tuple[int, ...] = (19,) * 6
    classes: int = 20
    empty: tuple[int, ...] = ()  # classes without training data
    head_width: int = 512
    head_layers: int = 3
    head_kernel: int = 3
    max_seq_len: int = 2304
    absolute: bool = False  # positions added to the embedding
    relative: bool = False  # positions added to scores of local attention
    dropout: float = 0.0
    drop_rate: float = 0.1  # of whole paths
    backbone: str = "attention"  # or "maxpool", "sgp"
    neck: str = "layer"  # or "group", without weights, or "shared": one layer norm for all levels
    head: str = "distances"  # or "trident"
    form: str = "blocks"  # of local attention, or "dense": the same result
    # TriDet's:
    sgp_width: int = 768
    sgp_factor: float = 5.0
    sgp_spread: float = 0.0  # standard deviation of depthwise weights at first
    bins: int = 16
    boundary_kernel: int = 3
    noise: float = 0.0  # standard deviation of what is added to features in training

    @property
    def levels(self) -> int:
        """How many levels the pyramid has."""
        return self.branch + 1

    @property
    def divisor(self) -> int:
        """What lengths beyond `max_seq_len` are padded to a multiple of."""
        if self.backbone == "maxpool":
            return 2**self.branch
        if self.backbone == "sgp":
            return max(2**level * w for level, w in enumerate(self.windows))
        return max(2**level * (2 * (w // 2) if w > 1 else 1) for level, w in enumerate(self.windows))


def padded_length(length: int, sizes: Sizes) -> int:
    """What the released networks pad a recording of `length` snippets to before inference, one at a time."""
    if length <= sizes.max_seq_len:
        return sizes.max_seq_len
    return -(-length // sizes.divisor) * sizes.divisor


def padded(features: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Zeros after a recording's features [C, L] -> [1, C, length] and the mask [1, 1, length]."""
    mask = torch.arange(length, device=features.device)[None, None] < features.shape[1]
    return F.pad(features, (0, length - features.shape[1]))[None], mask


def positions(length: int, width: int) -> Tensor:
    """Sines in even channels, cosines in odd ones, divided by the root of the width: [1, D, T]."""
    channel = torch.arange(width)
    angle = torch.arange(length).double() / 10000 ** (2 * (channel // 2)[:, None].double() / width)
    return (torch.where(channel[:, None] % 2 == 0, angle.sin(), angle.cos()) * width**-0.5).float()[None]


class Pool(nn.Module):
    """TemporalMaxer's whole level: a max-pool."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D, T], [B, 1, T] -> [B, D, T / 2], [B, 1, T / 2]."""
        mask = every(mask, 2)
        return F.max_pool1d(x, 3, 2, 1) * mask, mask


class Backbone(nn.Module):
    """The embedding and all levels."""

    positions: Tensor | None

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes = sizes
        self.proj: nn.ModuleList | None = None
        inputs = sum(sizes.inputs)
        if sizes.streams:
            self.proj = nn.ModuleList(MaskedConv(a, b, 1) for a, b in zip(sizes.inputs, sizes.streams, strict=True))
            inputs = sum(sizes.streams)
        widths = [inputs] + [sizes.width] * sizes.embedding
        self.embd = nn.ModuleList(MaskedConv(a, b, 3, bias=False) for a, b in itertools.pairwise(widths))
        self.embd_norm = nn.ModuleList(LayerNorm(sizes.width) for _ in range(sizes.embedding))
        self.stem = nn.ModuleList(self.block(0) for _ in range(sizes.stem))
        self.branch = nn.ModuleList(self.block(level) for level in range(1, sizes.levels))
        table = positions(sizes.max_seq_len, sizes.width) if sizes.absolute else None
        self.register_buffer("positions", table, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv1d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def block(self, level: int) -> nn.Module:
        """A block of a level; those of level 0 do not halve."""
        s = self.sizes
        if s.backbone == "maxpool":
            return Pool()
        window, stride = s.windows[level], 2 if level else 1
        if s.backbone == "attention":
            return TransformerBlock(s.width, s.heads, window, stride, s.dropout, s.drop_rate, s.relative, s.form)
        if s.backbone != "sgp":
            raise ValueError(f"{s.backbone!r} is no backbone")
        rate, kernel = (s.drop_rate, window) if level else (0.0, 1)
        return SGPBlock(s.width, s.sgp_width, kernel, s.sgp_factor, stride, rate, s.sgp_spread)

    def embed(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, C, T] -> [B, D, T]."""
        if self.proj is not None:
            parts = x.split(self.sizes.inputs, 1)
            x = torch.cat([conv(part, mask)[0] for conv, part in zip(self.proj, parts, strict=True)], 1)
        for conv, norm in zip(self.embd, self.embd_norm, strict=True):
            x = F.relu(norm(conv(x, mask)[0]))
        if self.positions is None:
            return x
        table, length = self.positions, x.shape[-1]
        if length > table.shape[-1]:
            if self.training:
                raise ValueError(f"{length} snippets in training, and positions for {table.shape[-1]}")
            table = F.interpolate(table, length, mode="linear", align_corners=False)
        return x + table[..., :length] * mask

    def forward(self, x: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """[B, C, T], [B, 1, T] -> [B, D, T_l] and [B, 1, T_l] per level."""
        x = self.embed(x, mask)
        for block in self.stem:
            x, mask = block(x, mask)
        features, masks = [x], [mask]
        for block in self.branch:
            x, mask = block(x, mask)
            features.append(x)
            masks.append(mask)
        return features, masks


class Outputs(NamedTuple):
    """Per level: class logits [B, K, T_l], distances [B, 2, T_l] or (trident) [B, T_l, K, 2], masks [B, 1, T_l]."""

    logits: list[Tensor]
    distances: list[Tensor]
    masks: list[Tensor]

    def flat(self) -> tuple[Tensor, Tensor, Tensor]:
        """All levels one after the other: [B, N, K], [B, N, 2] or [B, N, K, 2], [B, N]."""
        distances = [d.transpose(1, 2) if d.ndim == 3 else d for d in self.distances]
        return torch.cat(self.logits, 2).transpose(1, 2), torch.cat(distances, 1), torch.cat(self.masks, 2)[:, 0]


class OneStage(nn.Module):
    """The whole network; its state dict is the released one."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        if sizes.backbone != "maxpool" and len(sizes.windows) != sizes.levels:
            raise ValueError(f"{len(sizes.windows)} windows for {sizes.levels} levels")
        if sizes.head not in ("distances", "trident"):
            raise ValueError(f"{sizes.head!r} is no head")
        self.sizes = sizes
        self.backbone = Backbone(sizes)
        self.neck = Identity(sizes.width, sizes.levels, sizes.neck)
        tower = (sizes.width, sizes.head_width, sizes.head_layers)
        self.cls_head = ClassHead(*tower, sizes.head_kernel, sizes.classes, sizes.empty)
        outputs = 2
        self.start_head: ClassHead | None = None
        self.end_head: ClassHead | None = None
        if sizes.head == "trident":
            self.start_head = ClassHead(*tower, sizes.boundary_kernel, sizes.classes, sizes.empty)
            self.end_head = ClassHead(*tower, sizes.boundary_kernel, sizes.classes, sizes.empty)
            outputs = 2 * (sizes.bins + 1)
        self.reg_head = DistanceHead(*tower, sizes.head_kernel, sizes.levels, outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Outputs:
        """x [B, C, T], mask [B, 1, T] bool -> `Outputs`; T is a multiple of the coarsest stride."""
        if self.training and self.sizes.noise > 0:
            x = x + self.sizes.noise * torch.randn_like(x)
        features, masks = self.backbone(x, mask)
        features = self.neck(features)
        logits, distances = self.cls_head(features, masks), self.reg_head(features, masks)
        if self.start_head is not None and self.end_head is not None:
            detached = [x.detach() for x in features]
            starts, ends = self.start_head(detached, masks), self.end_head(detached, masks)
            distances = [trident(*level) for level in zip(starts, ends, distances, strict=True)]
        return Outputs(logits, distances, masks)
