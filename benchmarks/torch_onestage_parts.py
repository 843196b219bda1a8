"""What one-stage pyramid detectors are made of, in plain PyTorch: norms, masked convolutions, drop path, towers.

Own code after a description of the released networks; names of parameters are the released ones. Everything is
channels first: features [B, D, T], masks [B, 1, T] bool, true where there is a snippet.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIOR = 0.01  # what a class is thought to be worth before training
NEVER = 1e-6  # and a class without training data


class LayerNorm(nn.Module):
    """A norm over channels alone, of [B, D, T]; weight and bias are stored as [1, D, 1]."""

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(1, width, 1)), nn.Parameter(torch.zeros(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, T] -> [B, D, T]."""
        centred = x - x.mean(1, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-5) * self.weight + self.bias


def every(mask: Tensor, stride: int) -> Tensor:
    """The mask of a level `stride` times as coarse: [B, 1, T] -> [B, 1, T / stride]."""
    if mask.shape[-1] % stride:
        raise ValueError(f"{mask.shape[-1]} snippets do not halve evenly: pad them to a multiple of all strides")
    return mask[..., ::stride]


class MaskedConv(nn.Module):
    """A convolution whose output is masked, and whose input is not."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = True):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.stride = stride

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T], [B, 1, T] -> [B, D, T / stride], [B, 1, T / stride]."""
        mask = every(mask, self.stride)
        return self.conv(x) * mask, mask


class AffineDropPath(nn.Module):
    """A learnt scale per channel, then whole samples dropped in training; the scale acts in inference too."""

    def __init__(self, width: int, rate: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, width, 1), 1e-4))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, T] -> [B, D, T]."""
        x = self.scale * x
        if not self.training:
            return x
        kept = (torch.rand(len(x), 1, 1, dtype=x.dtype, device=x.device) >= self.rate).to(x.dtype)
        return x * kept / (1 - self.rate)


def drop_path(width: int, rate: float) -> nn.Module:
    """AffineDropPath; at rate 0 there is neither drop nor scale."""
    return AffineDropPath(width, rate) if rate > 0 else nn.Identity()


class Identity(nn.Module):
    """The identity pyramid: a norm per level."""

    def __init__(self, width: int, levels: int, norm: str = "layer"):
        super().__init__()
        norms: list[nn.Module]
        if norm == "group":
            norms = [nn.GroupNorm(4, width, affine=False) for _ in range(levels)]
        elif norm == "shared":
            norms = [LayerNorm(width)] * levels
        else:
            norms = [LayerNorm(width) for _ in range(levels)]
        self.fpn_norms = nn.ModuleList(norms)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """[B, D, T_l] per level -> the same, normed; padding is not masked again."""
        return [norm(x) for norm, x in zip(self.fpn_norms, features, strict=True)]


class Tower(nn.Module):
    """The convolutions that a head has before its last one, the same for all levels."""

    def __init__(self, inputs: int, width: int, layers: int, kernel: int):
        super().__init__()
        widths = [inputs] + [width] * (layers - 1)
        self.head = nn.ModuleList(MaskedConv(a, b, kernel, bias=False) for a, b in itertools.pairwise(widths))
        self.norm = nn.ModuleList(LayerNorm(width) for _ in widths[1:])

    def climb(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, D, T] -> [B, head width, T]."""
        for conv, norm in zip(self.head, self.norm, strict=True):
            x = F.relu(norm(conv(x, mask)[0]))
        return x


class ClassHead(Tower):
    """Logits of classes."""

    def __init__(self, inputs: int, width: int, layers: int, kernel: int, classes: int, empty: Sequence[int] = ()):
        super().__init__(inputs, width, layers, kernel)
        self.cls_head = MaskedConv(width, classes, kernel)
        bias = self.cls_head.conv.bias
        assert bias is not None
        nn.init.constant_(bias, -math.log((1 - PRIOR) / PRIOR))
        with torch.no_grad():
            bias[list(empty)] = -math.log((1 - NEVER) / NEVER)

    def forward(self, features: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """[B, D, T_l] per level -> [B, K, T_l] per level, 0 where masked."""
        return [self.cls_head(self.climb(x, m), m)[0] for x, m in zip(features, masks, strict=True)]


class Scale(nn.Module):
    """A learnt number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x * self.scale


class DistanceHead(Tower):
    """What is regressed, never negative: two distances, or the bins of two of them."""

    def __init__(self, inputs: int, width: int, layers: int, kernel: int, levels: int, outputs: int = 2):
        super().__init__(inputs, width, layers, kernel)
        self.scale = nn.ModuleList(Scale() for _ in range(levels))
        self.offset_head = MaskedConv(width, outputs, kernel)

    def forward(self, features: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """[B, D, T_l] per level -> [B, outputs, T_l] per level, 0 where masked."""
        return [
            F.relu(scale(self.offset_head(self.climb(x, m), m)[0]))
            for scale, x, m in zip(self.scale, features, masks, strict=True)
        ]
