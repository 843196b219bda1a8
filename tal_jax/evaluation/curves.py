"""Precision against recall, and scores against what they promise."""

from dataclasses import dataclass

import numpy as np

from tal_jax.evaluation.detection import Matching
from tal_jax.evaluation.segment_table import SegmentTable

RECALL = np.linspace(0, 1, 101)
BINS = 15  # Guo et al. 2017 (On Calibration of Modern Neural Networks)


def precision_recall(matching: Matching, truth: SegmentTable) -> np.ndarray:
    """Interpolated precision at the recalls of RECALL, mean over classes: [A, 101] float64.

    As in the evaluator, precision at a recall is the highest at this or a larger one, and 0 where it is never reached:
    the area beneath is the mAP, up to the 101 points.

    Args:
      matching: which of n detections are right, at A thresholds.
      truth: the annotated segments.
    """
    positives = np.bincount(truth.label)
    counted = np.flatnonzero(positives)
    total = np.zeros((len(matching.tiou), len(RECALL)))
    for k in counted.tolist():
        hits, misses = matching.hits[:, matching.of_class(k)], matching.misses[:, matching.of_class(k)]
        if hits.shape[1] == 0:
            continue
        true = np.cumsum(hits, axis=1)
        counted_so_far = true + np.cumsum(misses, axis=1)
        precision = true / np.maximum(counted_so_far, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        needed = np.ceil(RECALL * positives[k] - 1e-9)  # so many must be found
        for a, count in enumerate(true):
            place = np.searchsorted(count, needed, side="left")
            reached = place < len(count)
            total[a, reached] += envelope[a, place[reached]]
    return total / len(counted)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Bins of scores, and how many of their detections are true positives."""

    low: np.ndarray  # [J] float64: lower bounds of the bins that hold anything
    high: np.ndarray  # [J]
    score: np.ndarray  # [J]: mean of the scores
    precision: np.ndarray  # [A, J]: share of true positives
    count: np.ndarray  # [J] int64
    error: np.ndarray | None  # [A]: expected calibration error; None where scores are not in [0, 1]


def calibrate(matching: Matching, score: np.ndarray, truth: SegmentTable) -> Calibration:
    """Reliability of scores (Guo et al. 2017): of the detections that score 0.8, are 80 % true positives?

    Bins have one width. The expected calibration error is the mean distance of precision and mean score, weighted by
    the number of detections.

    Args:
      matching: which of n detections are right, at A thresholds.
      score: [n] scores of all detections, in the order of the table that was matched.
      truth: the annotated segments; detections of other classes than theirs do not count.
    """
    known = np.isin(matching.label, truth.label)
    values, hits = score[matching.row[known]], matching.found[:, known] >= 0
    probabilities = bool(len(values)) and values.min() >= 0 and values.max() <= 1
    low, high = (0.0, 1.0) if probabilities or not len(values) else (float(values.min()), float(values.max()))
    edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low, low])
    bins = len(edges) - 1
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    mean = np.bincount(place, weights=values, minlength=bins)[filled] / count[filled]
    right = np.stack([np.bincount(place, weights=row, minlength=bins) for row in hits])[:, filled] / count[filled]
    error = (np.abs(right - mean) * count[filled]).sum(axis=1) / count.sum() if probabilities else None
    return Calibration(edges[:-1][filled], edges[1:][filled], mean, right, count[filled], error)
