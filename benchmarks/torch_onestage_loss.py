"""How one-stage pyramid detectors are taught, in plain PyTorch: points, which of them learn what, and the losses.

Times are on the grid of snippets: a point of a level of stride s lies at a multiple of s, in the middle of its
snippet, and the distances to both ends of its segment are counted in units of s.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

RANGES = ((0.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0), (64.0, 1e4))
OVERLAPPING = ((0.0, 4.0), (2.0, 8.0), (4.0, 16.0), (8.0, 32.0), (16.0, 64.0), (32.0, 1e4))
EGO4D = (*OVERLAPPING[:5], (32.0, 128.0), (64.0, 256.0), (128.0, 1e4))
EGO4D_SLOWFAST = (*OVERLAPPING[:5], (32.0, 128.0), (64.0, 1e4))
TIE = 1e-3  # segments that are longer than the shortest by no more than this give a point their classes too


def points_of(length: int, ranges: Sequence[tuple[float, float]] = RANGES) -> Tensor:
    """The points of all levels under a padded length: [N, 4] of time, shortest and longest distance, and stride."""
    levels = []
    for level, (low, high) in enumerate(ranges):
        stride = 2**level
        if length % stride:
            raise ValueError(f"{length} is no multiple of {stride}")
        levels += [[float(t), low, high, float(stride)] for t in range(0, length, stride)]
    return torch.tensor(levels)


class Targets(NamedTuple):
    """What points learn: classes [..., N, K], 0 or 1, and distances [..., N, 2], of use where there is a class."""

    classes: Tensor
    distances: Tensor


def assign(points: Tensor, segments: Tensor, labels: Tensor, classes: int, radius: float = 1.5) -> Targets:
    """Each point of [N, 4] learns the shortest segment of [S, 2] around it; labels [S] -> [N, K], [N, 2]."""
    time, low, high, stride = points[:, None].unbind(-1)  # [N, 1]
    if not len(segments):
        return Targets(points.new_zeros(len(points), classes), points.new_zeros(len(points), 2))
    start, end = segments[None].unbind(-1)  # [1, S]
    distances = torch.stack([time - start, end - time], -1)  # [N, S, 2]
    middle = (start + end) / 2
    from_start = time - torch.maximum(middle - radius * stride, start)
    from_end = torch.minimum(middle + radius * stride, end) - time
    farthest = distances.amax(-1)
    candidate = (torch.minimum(from_start, from_end) > 0) & (low <= farthest) & (farthest <= high)
    lengths = (end - start).expand_as(farthest).masked_fill(~candidate, math.inf)
    shortest, index = lengths.min(1)  # the first among equals
    near = (lengths <= shortest[:, None] + TIE) & candidate
    found = near.to(points.dtype) @ F.one_hot(labels, classes).to(points.dtype)
    chosen = distances[torch.arange(len(points), device=index.device), index]
    return Targets(found.clamp(max=1), chosen / stride)


def assign_slowly(points: Tensor, segments: Tensor, labels: Tensor, classes: int, radius: float = 1.5) -> Targets:
    """The same as `assign`, a point and a segment at a time; distances are 0 where there is no class."""
    found, distances = torch.zeros(len(points), classes), torch.zeros(len(points), 2)
    for n, (time, low, high, stride) in enumerate(points.tolist()):
        candidates = []
        for (start, end), label in zip(segments.tolist(), labels.tolist(), strict=True):
            middle = (start + end) / 2
            inside = max(middle - radius * stride, start) < time < min(middle + radius * stride, end)
            if inside and low <= max(time - start, end - time) <= high:
                candidates.append((start, end, label))
        if not candidates:
            continue
        best = candidates[0]
        for candidate in candidates[1:]:
            if candidate[1] - candidate[0] < best[1] - best[0]:
                best = candidate
        for start, end, label in candidates:
            if end - start <= best[1] - best[0] + TIE:
                found[n, label] = 1
        distances[n] = torch.tensor([time - best[0], best[1] - time]) / stride
    return Targets(found, distances)


def assign_batch(
    points: Tensor, segments: Sequence[Tensor], labels: Sequence[Tensor], classes: int, radius: float = 1.5
) -> Targets:
    """`assign` for each of B recordings -> [B, N, K], [B, N, 2]."""
    each = [assign(points, s, y, classes, radius) for s, y in zip(segments, labels, strict=True)]
    return Targets(torch.stack([t.classes for t in each]), torch.stack([t.distances for t in each]))


@dataclasses.dataclass
class Normalizer:
    """What both losses are divided by: a running mean of the number of positive points, updated before its use."""

    value: float = 100.0
    momentum: float = 0.9

    def update(self, positives: int) -> float:
        """The mean with this batch in it."""
        self.value = self.momentum * self.value + (1 - self.momentum) * max(positives, 1)
        return self.value


def smoothed(classes: Tensor, smoothing: float) -> Tensor:
    """Classes [..., K] of 0 and 1, moved towards 1 / (K + 1)."""
    return classes * (1 - smoothing) + smoothing / (classes.shape[-1] + 1)


def focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The sigmoid focal loss of each entry, for soft targets too: any shape -> the same."""
    p = torch.sigmoid(logits)
    right = p * targets + (1 - p) * (1 - targets)
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    return balance * (1 - right) ** gamma * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _overlap(found: Tensor, truth: Tensor) -> Tensor:
    shared = torch.minimum(found, truth).sum(-1)
    return shared / (found.sum(-1) + truth.sum(-1) - shared).clamp(min=1e-8)


def overlap_loss(found: Tensor, truth: Tensor) -> Tensor:
    """1 - IoU of segments around the same point by their distances from it: [P, 2], [P, 2] -> [P]."""
    return 1 - _overlap(found, truth)


def distance_loss(found: Tensor, truth: Tensor) -> Tensor:
    """DIoU in one dimension: 1 - IoU and the squared distance of the middles in hulls: [P, 2], [P, 2] -> [P]."""
    hull = torch.maximum(found, truth).sum(-1).clamp(min=1e-8)
    apart = ((found[:, 1] - found[:, 0]) - (truth[:, 1] - truth[:, 0])) / 2
    return overlap_loss(found, truth) + (apart / hull) ** 2


def combined(by_class: Tensor, by_distance: Tensor, weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Total, class loss and distance loss; a weight of at most 0 makes the second as large as the first."""
    factor = weight if weight > 0 else by_class.detach() / max(by_distance.item(), 0.01)
    return by_class + factor * by_distance, by_class, by_distance


def one_stage_loss(
    logits: Tensor, distances: Tensor, valid: Tensor, targets: Targets, normalizer: Normalizer,
    smoothing: float = 0.0, weight: float = 1.0, diou: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Total, class loss and distance loss of all levels: logits [B, N, K], distances [B, N, 2], valid [B, N]."""
    positive = targets.classes.bool().any(-1) & valid
    norm = normalizer.update(int(positive.sum()))
    by_class = focal(logits, smoothed(targets.classes, smoothing))[valid].sum() / norm
    found, truth = distances[positive], targets.distances[positive]
    each = distance_loss(found, truth) if diou else overlap_loss(found, truth)
    by_distance = each.sum() / norm if len(found) else 0 * distances.sum()
    return combined(by_class, by_distance, weight)
