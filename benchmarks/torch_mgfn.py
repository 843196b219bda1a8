"""KT-MGFN in plain PyTorch, as one would write it: a loop over branches, over recordings and over their classes.

Own code after the report, section 3, with the settings of configs/weak_hacs.py: global average pooling, erasing on the
sigmoid, MMD with five bandwidths, OIC of every position's best anchor.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


class Classifier(nn.Module):
    """Base net and one branch per dilation rate."""

    def __init__(self, channels: int, classes: int, hidden: int = 512, branch: int = 128, dilations=(1, 2, 3, 5)):
        super().__init__()
        self.base = nn.Sequential(
            nn.Conv1d(channels, hidden, 3, padding=1), nn.ReLU(), nn.Conv1d(hidden, hidden, 3, padding=1), nn.ReLU()
        )
        self.drop = nn.Dropout(0.5)
        self.branches = nn.ModuleList(nn.Conv1d(hidden, branch, 3, padding=d, dilation=d) for d in dilations)
        self.out = nn.ModuleList(nn.Linear(branch, classes) for _ in dilations)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x [B, C, T] -> encoded [B, H, T], logits [R, B, K], pooled [R, B, D], sequence [B, T, K]."""
        encoded = self.base(x)
        dropped = self.drop(encoded)
        sequences, logits, pooled = [], [], []
        for branch, out in zip(self.branches, self.out, strict=True):
            y = F.relu(branch(dropped))
            pooled.append(y.mean(2))
            logits.append(out(pooled[-1]))
            sequences.append(out(y.transpose(1, 2)))
        fused = sequences[0] + sum(sequences[1:]) / (len(sequences) - 1)
        return encoded, torch.stack(logits), torch.stack(pooled), fused


class MGFN(nn.Module):
    """Two stages of classification with erasing in between, and the boundary regressor."""

    def __init__(self, channels: int, classes: int, anchors: tuple[float, ...], threshold: float = 0.5):
        super().__init__()
        self.stage1, self.stage2 = Classifier(channels, classes), Classifier(channels, classes)
        self.anchors, self.threshold = anchors, threshold
        self.regressor = nn.Sequential(
            nn.Conv1d(512, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(128, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(128, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(128, 2 * len(anchors), 3, padding=1),
        )

    def forward(self, x: Tensor, labels: Tensor) -> tuple[tuple, tuple, Tensor, Tensor]:
        """x [B, C, T], labels [B, K] -> both stages' outputs, their sequence [B, T, K], segments [B, T, M, 2]."""
        first = self.stage1(x)
        with torch.no_grad():
            cas = min_max(first[3].sigmoid())
            erased = ((cas > self.threshold) & (labels[:, None] > 0)).any(2)
        second = self.stage2(x * (~erased)[:, None])
        sequence = torch.maximum(first[3], second[3])
        b, t = sequence.shape[:2]
        bound = torch.tensor([0.5, math.log(2.0)])
        raw = self.regressor(first[0]).transpose(1, 2).reshape(b, t, -1, 2)
        offsets = bound * torch.tanh(raw / bound)
        width = torch.tensor(self.anchors)
        centre = torch.arange(t)[:, None] + 0.5 + width * offsets[..., 0]
        width = width * torch.exp(offsets[..., 1])
        return first, second, sequence, torch.stack([centre - width / 2, centre + width / 2], -1)


def min_max(x: Tensor) -> Tensor:
    """Scaling over time: [B, T, K] -> [0, 1]."""
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    return (x - low) / (high - low).clamp(min=1e-12)


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared MMD with a sum of RBF kernels around the median distance: x [M, D], y [N, D]."""
    z = torch.cat([x, y])
    square = ((z[:, None] - z[None]) ** 2).sum(-1)
    others = ~torch.eye(len(z), dtype=torch.bool)
    width = square[others].median().detach()
    kernel = sum(torch.exp(-square / (2 * q * q * width)) for q in BANDWIDTHS)
    m, n = len(x), len(y)
    within_x = kernel[:m, :m][others[:m, :m]].mean()
    within_y = kernel[m:, m:][others[m:, m:]].mean()
    return within_x + within_y - 2 * kernel[:m, m:].mean() if m > 1 and n > 1 else kernel.sum() * 0


def integral(sums: Tensor, at: Tensor) -> Tensor:
    """The cumulative sum [T + 1] at real positions, linear in between."""
    at = at.clamp(0, len(sums) - 1)
    low = at.floor().clamp(max=len(sums) - 2)
    index = low.long()
    return sums[index] + (at - low) * (sums[index + 1] - sums[index])


def oic(cas: Tensor, segments: Tensor, labels: Tensor, inflation: float = 0.25) -> Tensor:
    """Mean contrast of each position's best anchor: cas [B, T, K], segments [B, T, M, 2]."""
    t = cas.shape[1]
    found = []
    for b in range(len(cas)):
        s, e = segments[b, ..., 0], segments[b, ..., 1]
        margin = (inflation * (e - s)).clamp(min=1)
        low, high, s, e = (x.clamp(0, t) for x in (s - margin, e + margin, s, e))
        for k in labels[b].nonzero()[:, 0]:
            sums = F.pad(cas[b, :, k].cumsum(0), (1, 0))
            inside = integral(sums, e) - integral(sums, s)
            around = integral(sums, high) - integral(sums, low) - inside
            inner = inside / (e - s).clamp(min=1)
            outer = around / ((high - low) - (e - s)).clamp(min=1)
            best = ((outer - inner + 1) / 2).amin(1)
            found.append(best[(cas[b, :, k] > 0.1) & (best < 0.7)])
    values = torch.cat(found)
    return values.mean() if len(values) else segments.sum() * 0


def loss(outputs: tuple, labels: Tensor, knowledge: Tensor, mmd_weight: float = 0.1, oic_weight: float = 0.1) -> Tensor:
    """The total; knowledge [N, 2 R D] of the trimmed clips."""
    first, second, sequence, segments = outputs
    total = sum(F.binary_cross_entropy_with_logits(stage[1], labels.expand_as(stage[1])) for stage in (first, second))
    pooled = torch.cat([first[2], second[2]])  # [2 R, B, D]
    given = knowledge.reshape(len(knowledge), len(pooled), -1)
    total = total + mmd_weight * sum(mmd(pooled[r], given[:, r]) for r in range(len(pooled))) / len(pooled)
    with torch.no_grad():
        cas = min_max(sequence.sigmoid())
    return total + oic_weight * oic(cas, segments, labels)
