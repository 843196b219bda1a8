"""BMN in plain PyTorch, as published: the boundary-matching layer is one dense matrix of T x (32 T T) numbers.

Own code after Lin et al. 2019 and the public ports' description; maps are laid out [duration, start]. Positions are
interpolated as in the paper; `port="mmaction2"` and `port="jjboy"` truncate them towards zero as those do, and JJBOY's
cells are one snippet longer and laid out [start, end].
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sample_mask(snippets: int, bins: int = 32, points: int = 3) -> Tensor:
    """The matrix [T, bins * T * T] that samples every cell (duration, start); cells beyond the end are zero."""
    t = snippets
    mask = np.zeros((t, bins, t, t), np.float32)
    for duration in range(t):
        length = duration + 1
        offsets = -length / 2 + (duration + length) * np.arange(bins * points) / (bins * points - 1)
        start = np.arange(t - duration)
        for i, offset in enumerate(offsets):
            low = int(np.floor(offset))
            for row, weight in ((low, low + 1 - offset), (low + 1, offset - low)):
                inside = (start + row >= 0) & (start + row < t)
                mask[start[inside] + row, i // points, duration, start[inside]] += weight / points
    return torch.from_numpy(mask.reshape(t, -1))


def bin_mask(low: float, high: float, snippets: int, bins: int, points: int) -> np.ndarray:
    """The published sampling of one segment: [T, bins]."""
    step = (high - low) / (bins * points - 1.0)
    samples = [low + step * i for i in range(bins * points)]
    mask = np.zeros((snippets, bins))
    for i, sample in enumerate(samples):
        fraction, down = math.modf(sample)
        up = math.ceil(sample)
        if 0 <= int(down) <= snippets - 1:
            mask[int(down), i // points] += 1 - fraction
        if 0 <= up <= snippets - 1:
            mask[up, i // points] += fraction
    return 1.0 / points * mask


def published_sample_mask(snippets: int, port: str, bins: int = 32, points: int = 3) -> Tensor:
    """A port's matrix [T, bins * T * T] over cells [duration, start], or [start, end] for JJBOY's."""
    t = snippets
    mask = np.zeros((t, bins, t, t), np.float32)
    for start in range(t):
        for last in range(start, t):
            end = last + (port == "jjboy")
            half = (end - start + 1) * 0.5
            place = (start, last) if port == "jjboy" else (last - start, start)
            mask[:, :, place[0], place[1]] = bin_mask(start - half, end + half, t, bins, points)
    return torch.from_numpy(mask.reshape(t, -1))


class BMN(nn.Module):
    """The network; T durations. With a port, its state dict is the published one."""

    def __init__(
        self,
        channels: int,
        snippets: int,
        hidden: int = 256,
        proposal: int = 128,
        bins: int = 32,
        *,
        map_hidden: int = 512,
        map_conv: int = 128,
        port: str = "",
    ):
        super().__init__()
        self.snippets, self.bins = snippets, bins

        def conv(inputs: int, outputs: int, kernel: int, groups: int) -> nn.Conv1d:
            return nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)

        self.x_1d_b = nn.Sequential(conv(channels, hidden, 3, 4), nn.ReLU(), conv(hidden, hidden, 3, 4), nn.ReLU())
        self.x_1d_s = nn.Sequential(conv(hidden, hidden, 3, 4), nn.ReLU(), conv(hidden, 1, 1, 1), nn.Sigmoid())
        self.x_1d_e = nn.Sequential(conv(hidden, hidden, 3, 4), nn.ReLU(), conv(hidden, 1, 1, 1), nn.Sigmoid())
        self.x_1d_p = nn.Sequential(conv(hidden, proposal, 3, 1), nn.ReLU())
        self.x_3d_p = nn.Sequential(nn.Conv3d(proposal, map_hidden, (bins, 1, 1)), nn.ReLU())
        self.x_2d_p = nn.Sequential(
            nn.Conv2d(map_hidden, map_conv, 1),
            nn.ReLU(),
            nn.Conv2d(map_conv, map_conv, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(map_conv, map_conv, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(map_conv, 2, 1),
            nn.Sigmoid(),
        )
        samples = published_sample_mask(snippets, port, bins) if port else sample_mask(snippets, bins)
        self.register_buffer("sample_mask", samples, persistent=bool(port))
        if port:
            self.register_buffer("bm_mask", bm_mask(snippets, port))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """features [B, C, T] -> start [B, T], end [B, T], map [B, 2, D, T] (regression, classification).

        The map's last axes are those of the layout.
        """
        t = self.snippets
        base = self.x_1d_b(features)
        p = self.x_1d_p(base)
        cells = (p @ self.sample_mask).reshape(len(p), -1, self.bins, t, t)
        return self.x_1d_s(base)[:, 0], self.x_1d_e(base)[:, 0], self.x_2d_p(self.x_3d_p(cells)[:, :, 0])


def bm_mask(snippets: int, port: str = "") -> Tensor:
    """Cells [D, T], or [start, end] for JJBOY's, whose segment lies in the sequence."""
    if port == "jjboy":
        return torch.ones(snippets, snippets).triu()
    return (torch.arange(snippets)[:, None] + torch.arange(snippets)[None] < snippets).float()


def balanced(p: Tensor, positive: Tensor, mask: Tensor) -> Tensor:
    """Weighted binary logistic loss over the real elements."""
    n, n_pos = mask.sum(), (positive * mask).sum()
    a, b = 0.5 * n / n_pos.clamp(min=1), 0.5 * n / (n - n_pos).clamp(min=1)
    terms = a * positive * torch.log(p + 1e-6) + b * (1 - positive) * torch.log(1 - p + 1e-6)
    return -(terms * mask).sum() / n


def loss(
    start: Tensor,
    end: Tensor,
    maps: Tensor,
    start_label: Tensor,
    end_label: Tensor,
    iou: Tensor,
    *,
    draw: bool = True,
    port: str = "",
) -> Tensor:
    """Boundary + 10 x regression + classification; labels [B, T], [B, T], iou [B, D, T] in the map's layout.

    draw=False gives the negatives of the regression the expectation of the published random draw. The ports draw none
    from cells that overlap nothing.
    """
    mask = bm_mask(maps.shape[-1], port).expand_as(iou)
    low = (iou <= 0.3) & (iou > 0) if port else iou <= 0.3
    whole = torch.ones_like(start)
    total = balanced(start, (start_label > 0.5).float(), whole) + balanced(end, (end_label > 0.5).float(), whole)
    high = (iou > 0.7).float() * mask
    weight = high.clone()
    for pool in (((iou > 0.3) & (iou <= 0.7)).float() * mask, low.float() * mask):
        share = high.sum() / pool.sum().clamp(min=1)
        weight += (torch.rand_like(pool) < share).float() * pool if draw else share.clamp(max=1) * pool
    regression = 0.5 * (F.mse_loss(maps[:, 0], iou, reduction="none") * weight).sum() / weight.sum().clamp(min=1)
    return total + 10 * regression + balanced(maps[:, 1], (iou > 0.9).float(), mask)
