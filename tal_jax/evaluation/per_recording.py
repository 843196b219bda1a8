"""The same results recording by recording."""

from dataclasses import dataclass

import numpy as np

from tal_jax.evaluation.detection import Matching, average_precision
from tal_jax.evaluation.segment_table import SegmentTable, descending, group_ranks


@dataclass(frozen=True, eq=False)
class RecordingScores:
    """Of V recordings."""

    segments: np.ndarray  # [V] int64: how many there are to find
    found: np.ndarray  # [A, V] int64: how many were found, by detections of any rank
    precision: np.ndarray  # [V] float64: average precision within the recording, mean over its classes and thresholds;
    # NaN where there is nothing to find


def score_recordings(
    matching: Matching, truth: SegmentTable, detections: SegmentTable, recordings: int
) -> RecordingScores:
    """How well each recording fares by itself.

    Args:
      matching: which of the detections are right, at every threshold.
      truth: the annotated segments.
      detections: the table that was matched.
      recordings: number of recordings, V.
    """
    segments = np.bincount(truth.recording, minlength=recordings)
    found = np.stack([np.bincount(truth.recording[row[row >= 0]], minlength=recordings) for row in matching.found])

    classes = 1 + max(truth.label.max(), matching.label.max(initial=0))
    group, positives = np.unique(truth.recording * classes + truth.label, return_counts=True)
    recording = detections.recording[matching.row]
    key = np.where(recording < 0, -1, recording * classes + matching.label)
    order = np.argsort(key, kind="stable")  # within a group the ranks stay
    first, last = (np.searchsorted(key[order], group, side=side) for side in ("left", "right"))
    precision = np.zeros(len(group))
    for i, (a, b, n) in enumerate(zip(first.tolist(), last.tolist(), positives.tolist(), strict=True)):
        if b > a:
            rows = order[a:b]
            precision[i] = average_precision(matching.hits[:, rows], matching.misses[:, rows], n).mean()
    total = np.bincount(group // classes, weights=precision, minlength=recordings)
    counts = np.bincount(group // classes, minlength=recordings)
    mean = np.divide(total, counts, out=np.full(recordings, np.nan), where=counts > 0)
    return RecordingScores(segments, found, mean)


def best_of_each(detections: SegmentTable, count: int) -> np.ndarray:
    """Rows of the `count` best detections of every recording, best first, without unknown recordings."""
    order = descending(detections.score)
    order = order[detections.recording[order] >= 0]
    order = order[np.argsort(detections.recording[order], kind="stable")]
    return order[group_ranks(detections.recording[order]) < count]
