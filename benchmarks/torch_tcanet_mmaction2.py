"""MMAction2's TCANet in plain PyTorch: the released one with other names, start and end regressed by one grouped stack.

Own code after the port's description; for comparing numbers, speed is measured on `torch_tcanet`.
"""

import torch
from torch import Tensor, nn

from benchmarks import torch_tcanet
from benchmarks.torch_tcanet import Projections, attend, attention_mask


class Attention(nn.Module):
    """The projections by their names in MMCV."""

    def __init__(self, hidden: int):
        super().__init__()
        self.attn = Projections(hidden)


class FFN(nn.Module):
    """The feed-forward network of MMCV without its residual connection."""

    def __init__(self, hidden: int, ffn: int):
        super().__init__()
        first = nn.Sequential(nn.Linear(hidden, ffn), nn.ReLU(), nn.Dropout(0.1))
        self.layers = nn.Sequential(first, nn.Linear(ffn, hidden), nn.Dropout(0.1))


class LGTE(nn.Module):
    """Local-global temporal encoder."""

    def __init__(self, snippets: int, hidden: int, ffn: int):
        super().__init__()
        self.register_buffer("mask", attention_mask(snippets))
        self.atten, self.ffn = Attention(hidden), FFN(hidden, ffn)
        self.norm1, self.norm2 = nn.LayerNorm(hidden, eps=1e-6), nn.LayerNorm(hidden, eps=1e-6)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, H] -> [B, T, H]."""
        x = self.norm1(x + self.drop(attend(x, self.atten.attn, self.mask, self.drop)))
        return self.norm2(x + self.ffn.layers(x))


class FrameLevel(nn.Sequential):
    """Both contexts side by side in one stack of twice the groups."""

    def __init__(self, hidden: int, frame: int):
        super().__init__(
            nn.Conv1d(2 * hidden, 2 * frame, 3, 2, 1, groups=8),
            nn.ReLU(),
            nn.Conv1d(2 * frame, 2 * frame, 3, 2, 1, groups=8),
            nn.ReLU(),
            nn.Conv1d(2 * frame, 2, 8, groups=2),
        )

    def forward(self, start: Tensor, end: Tensor) -> Tensor:
        """[P, H, 32] each -> [P, 2]."""
        return super().forward(torch.cat([start, end], 1))[..., 0]


class SegmentLevel(nn.Sequential):
    """The stack on all points."""

    def __init__(self, hidden: int):
        super().__init__(
            nn.Conv1d(hidden, hidden, 3, 2, 1, groups=4),
            nn.ReLU(),
            nn.Conv1d(hidden, hidden, 3, 2, 1, groups=4),
            nn.ReLU(),
            nn.Conv1d(hidden, hidden, 32, groups=4),
            nn.ReLU(),
            nn.Conv1d(hidden, 3, 1),
        )

    def forward(self, points: Tensor) -> Tensor:
        """[P, H, 128] -> [P, 3]."""
        return super().forward(points)[..., 0]


class TBR(torch_tcanet.TBR):
    """One temporal boundary regressor."""

    def __init__(self, hidden: int, frame: int):
        super().__init__(hidden, frame)
        self.reg1se, self.reg1xw = FrameLevel(hidden, frame), SegmentLevel(hidden)


class TCANet(torch_tcanet.TCANet):
    """The whole network; its state dict is MMAction2's."""

    def encoder(self, snippets: int, hidden: int, ffn: int) -> nn.Module:
        """One LGTE."""
        return LGTE(snippets, hidden, ffn)

    def regressor(self, hidden: int, frame: int) -> nn.Module:
        """One TBR."""
        return TBR(hidden, frame)
