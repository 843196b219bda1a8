"""Flat tables of segments, and the pairs of detection and ground truth that overlap enough to match."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tal_jax.errors import InputError
from tal_jax.windows import WindowDetections

# Pairs held in memory at once: a few hundred megabytes of temporaries, whatever the size of the input.
CHUNK_PAIRS = 2_000_000


@dataclass(frozen=True, eq=False)
class SegmentTable:
    """The segments of many recordings as flat arrays, in file order. Times are in one unit, usually seconds."""

    recording: np.ndarray  # [n] int64: index of the recording; negative where the ground truth has no such recording
    label: np.ndarray  # [n] int64: index of the class; negative where there is none
    segments: np.ndarray  # [n, 2] float64 (start, end)
    score: np.ndarray  # [n] float64; anything finite for ground truth

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: np.ndarray) -> "SegmentTable":
        """The table of the given rows (indices or a mask)."""
        return SegmentTable(self.recording[rows], self.label[rows], self.segments[rows], self.score[rows])


def segment_table(recording: ArrayLike, label: ArrayLike, segments: ArrayLike, score: ArrayLike) -> SegmentTable:
    """A `SegmentTable` from anything array-like, checked.

    Raises:
      InputError: the lengths differ, `segments` is not [n, 2], or a time or a score is not finite.
    """
    table = SegmentTable(
        np.asarray(recording, np.int64),
        np.asarray(label, np.int64),
        np.asarray(segments, np.float64).reshape((-1, 2) if np.size(segments) == 0 else np.shape(segments)),
        np.asarray(score, np.float64),
    )
    n = len(table.score)
    shapes = [x.shape for x in (table.recording, table.label, table.segments, table.score)]
    if shapes != [(n,), (n,), (n, 2), (n,)]:
        raise InputError(f"segment table: shapes {shapes} are not [n], [n], [n, 2], [n]: give each segment a row")
    finite = np.isfinite(table.segments).all(axis=1) & np.isfinite(table.score)
    if not finite.all():
        raise InputError(
            f"segment table: row {int(np.argmin(finite))} has a time or score that is not finite: remove it"
        )
    return table


def table_of(found: Iterable[tuple[int, WindowDetections]]) -> SegmentTable:
    """The table of (recording, its detections without padding), in that order."""
    parts = list(found)
    # So that there is something to concatenate.
    none = WindowDetections(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0, bool))
    segments, labels, scores, _ = (np.concatenate(x) for x in zip(none, *(d for _, d in parts), strict=True))
    return SegmentTable(
        recording=np.repeat(np.array([i for i, _ in parts], np.int64), [len(d.scores) for _, d in parts]),
        label=labels.astype(np.int64),
        segments=segments.astype(np.float64),
        score=scores.astype(np.float64),
    )


def temporal_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of aligned segments.

    Args:
      a: [..., 2] float64 (start, end).
      b: [..., 2] float64 (start, end).

    Returns:
      [...] float64 in [0, 1]. 0 where either has no positive length. The order of the sums is that of the ActivityNet
      evaluator, so that overlaps that sit exactly on a threshold fall on the same side.
    """
    intersection = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    intersection = np.maximum(intersection, 0.0)
    union = (b[..., 1] - b[..., 0]) + (a[..., 1] - a[..., 0]) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=(intersection > 0) & (union > 0))


def overlapping_pairs(
    truth_key: np.ndarray, truth: np.ndarray, key: np.ndarray, segments: np.ndarray, min_tiou: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs with the same key whose temporal IoU reaches a threshold.

    Args:
      truth_key: [G] int64: what must agree, for instance the recording, or recording and class as one number.
      truth: [G, 2] float64 (start, end).
      key: [n] int64: the same of the other segments.
      segments: [n, 2] float64 (start, end).
      min_tiou: pairs with a lower temporal IoU are left out.

    Returns:
      (row of `segments`, row of `truth`, temporal IoU), each [pairs], sorted by the first, then by the second.
    """
    order = np.argsort(truth_key, kind="stable")
    sorted_key = truth_key[order]
    low = np.searchsorted(sorted_key, key, side="left")
    count = np.searchsorted(sorted_key, key, side="right") - low
    rows = np.flatnonzero(count)  # most detections of a class lie in recordings without that class: drop them early
    before = np.cumsum(count[rows])
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    first = 0
    while first < len(rows):
        done = before[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(before, done + CHUNK_PAIRS, side="right")))
        chunk = rows[first:last]
        row = np.repeat(chunk, count[chunk])
        within = np.arange(len(row)) - np.repeat(before[first:last] - count[chunk] - done, count[chunk])
        truth_row = order[low[row] + within]
        tiou = temporal_iou(segments[row], truth[truth_row])
        keep = tiou >= min_tiou
        parts.append((row[keep], truth_row[keep], tiou[keep]))
        first = last
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    row, truth_row, tiou = (np.concatenate(column) for column in zip(*parts, strict=True))
    return row, truth_row, tiou


def overlaps_any(table: SegmentTable, others: SegmentTable | None) -> np.ndarray:
    """[n] bool: rows of a table that overlap, be it ever so little, with one of the others in their recording."""
    found = np.zeros(len(table), bool)
    if others is not None and len(others):
        smallest = float(np.finfo(np.float64).tiny)
        row, *_ = overlapping_pairs(others.recording, others.segments, table.recording, table.segments, smallest)
        found[row] = True
    return found


def group_ranks(group: np.ndarray) -> np.ndarray:
    """How many earlier rows belong to the same group: [n] -> [n] int64, such as [7, 3, 7, 7, 3] -> [0, 0, 1, 2, 1]."""
    order = np.argsort(group, kind="stable")
    same = group[order]
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(same, same, side="left")
    return rank


def descending(score: np.ndarray) -> np.ndarray:
    """Indices that sort by falling score; among equal scores the later row comes first: [n] float -> [n] int64.

    The ActivityNet evaluator writes `argsort()[::-1]`. NumPy's default sort leaves the order of equal values open, but
    for short arrays it is stable, which makes the reversed order "later first". That is the rule here for every length.
    """
    return np.argsort(score, kind="stable")[::-1]
