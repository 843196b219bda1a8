"""BMN in plain PyTorch, as published: the boundary-matching layer is one dense matrix of T x (32 T T) numbers.

Own code after Lin et al. 2019 and the public ports' description; maps are laid out [duration, start].
"""

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


class BMN(nn.Module):
    """The network; T durations."""

    def __init__(self, channels: int, snippets: int, hidden: int = 256, proposal: int = 128, bins: int = 32):
        super().__init__()
        self.snippets, self.bins = snippets, bins

        def conv(inputs: int, outputs: int, kernel: int, groups: int) -> nn.Conv1d:
            return nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)

        self.x_1d_b = nn.Sequential(conv(channels, hidden, 3, 4), nn.ReLU(), conv(hidden, hidden, 3, 4), nn.ReLU())
        self.x_1d_s = nn.Sequential(conv(hidden, hidden, 3, 4), nn.ReLU(), conv(hidden, 1, 1, 1), nn.Sigmoid())
        self.x_1d_e = nn.Sequential(conv(hidden, hidden, 3, 4), nn.ReLU(), conv(hidden, 1, 1, 1), nn.Sigmoid())
        self.x_1d_p = nn.Sequential(conv(hidden, proposal, 3, 1), nn.ReLU())
        self.x_3d_p = nn.Sequential(nn.Conv3d(proposal, 512, (bins, 1, 1)), nn.ReLU())
        self.x_2d_p = nn.Sequential(
            nn.Conv2d(512, 128, 1),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(128, 2, 1),
            nn.Sigmoid(),
        )
        self.register_buffer("sample_mask", sample_mask(snippets, bins), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """features [B, C, T] -> start [B, T], end [B, T], map [B, 2, D, T] (regression, classification)."""
        t = self.snippets
        base = self.x_1d_b(features)
        p = self.x_1d_p(base)
        cells = (p @ self.sample_mask).reshape(len(p), -1, self.bins, t, t)
        return self.x_1d_s(base)[:, 0], self.x_1d_e(base)[:, 0], self.x_2d_p(self.x_3d_p(cells)[:, :, 0])


def bm_mask(snippets: int) -> Tensor:
    """Cells [D, T] whose segment lies in the sequence."""
    return (torch.arange(snippets)[:, None] + torch.arange(snippets)[None] < snippets).float()


def balanced(p: Tensor, positive: Tensor, mask: Tensor) -> Tensor:
    """Weighted binary logistic loss over the real elements."""
    n, n_pos = mask.sum(), (positive * mask).sum()
    a, b = 0.5 * n / n_pos.clamp(min=1), 0.5 * n / (n - n_pos).clamp(min=1)
    terms = a * positive * torch.log(p + 1e-6) + b * (1 - positive) * torch.log(1 - p + 1e-6)
    return -(terms * mask).sum() / n


def loss(
    start: Tensor, end: Tensor, maps: Tensor, start_label: Tensor, end_label: Tensor, iou: Tensor, *, draw: bool = True
) -> Tensor:
    """Boundary + 10 x regression + classification; labels [B, T], [B, T], iou [B, D, T].

    draw=False gives the negatives of the regression the expectation of the published random draw.
    """
    mask = bm_mask(maps.shape[-1]).expand_as(iou)
    whole = torch.ones_like(start)
    total = balanced(start, (start_label > 0.5).float(), whole) + balanced(end, (end_label > 0.5).float(), whole)
    high = (iou > 0.7).float() * mask
    weight = high.clone()
    for pool in (((iou > 0.3) & (iou <= 0.7)).float() * mask, (iou <= 0.3).float() * mask):
        share = high.sum() / pool.sum().clamp(min=1)
        weight += (torch.rand_like(pool) < share).float() * pool if draw else share.clamp(max=1) * pool
    regression = 0.5 * (F.mse_loss(maps[:, 0], iou, reduction="none") * weight).sum() / weight.sum().clamp(min=1)
    return total + 10 * regression + balanced(maps[:, 1], (iou > 0.9).float(), mask)
