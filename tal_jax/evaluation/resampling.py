"""How much of a difference is chance: average precision over resampled recordings (bootstrap), and intervals."""

from collections.abc import Sequence

import numpy as np

from tal_jax.evaluation.detection import match_detections
from tal_jax.evaluation.pairs import SegmentTable

CHUNK = 2**22  # weights in memory at once


def drawn_recordings(rng: np.random.Generator, recordings: int, resamples: int) -> np.ndarray:
    """How often each recording is drawn when as many are drawn with replacement: [N, R] float64."""
    return rng.multinomial(recordings, np.full(recordings, 1 / recordings), resamples).astype(np.float64)


def resampled_precision(
    truth: SegmentTable,
    detections: SegmentTable,
    classes: int,
    tiou: Sequence[float] | np.ndarray,
    recordings: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Average mAP of every resample, as `evaluate_detections` would find it for a set that holds recordings repeatedly.

    Copies of a detection share a rank. Classes without ground truth in a resample are left out of its mean.

    Args:
      truth, detections: of all recordings.
      classes: K.
      tiou: [A] thresholds.
      recordings: [R] the values of the tables' `recording`, rising.
      weights: [N, R] how often each counts.

    Returns:
      [N] means over thresholds and classes, NaN where no recording with ground truth was drawn.

    Raises:
      InputError: there is no ground truth.
    """
    matching = match_detections(truth, detections, tiou)
    of_truth = np.searchsorted(recordings, truth.recording)
    column = np.searchsorted(recordings, detections.recording[matching.row])
    sums, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for k in range(classes):
        mine = matching.of_class(k)
        held = np.bincount(of_truth[truth.label == k], minlength=len(recordings))
        positives = weights @ held
        step = max(1, CHUNK // max(mine.stop - mine.start, 1))
        for first in range(0, len(weights), step):
            part = slice(first, first + step)
            precision = _precision(matching.hits[:, mine], weights[part][:, column[mine]], positives[part])
            sums[part] += precision
            counted[part] += positives[part] > 0
    return np.divide(sums, counted, out=np.full(len(weights), np.nan), where=counted > 0)


def _precision(hits: np.ndarray, weights: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Interpolated average precision of one class, mean over thresholds: [A, n], [N, n], [N] -> [N]."""
    total = np.cumsum(weights, axis=1)
    result = np.zeros(len(weights))
    for line in hits:
        at = np.flatnonzero(line)  # the highest precision at some recall is that of a true positive
        found = np.cumsum(weights[:, at], axis=1)
        precision = np.divide(found, total[:, at], out=np.zeros_like(found), where=total[:, at] > 0)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        result += np.sum(weights[:, at] * best, axis=1)
    scale = len(hits) * positives
    return np.divide(result, scale, out=np.zeros_like(result), where=positives > 0)


def drawn_seeds(rng: np.random.Generator, seeds: int, resamples: int) -> np.ndarray:
    """Which seeds each resample draws, with replacement: [N, S]."""
    return rng.integers(0, seeds, (resamples, seeds))


def interval(values: np.ndarray, coverage: float = 0.95) -> tuple[float, float]:
    """The percentile interval of resampled values."""
    low, high = np.nanpercentile(values, [50 * (1 - coverage), 50 * (1 + coverage)])
    return float(low), float(high)
