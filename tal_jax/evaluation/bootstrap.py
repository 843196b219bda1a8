"""How much of a difference is chance: average precision over resampled recordings (bootstrap), and intervals.

Where recordings are drawn one by one, an interval says nothing of other people, machines or places than those of the
set. Where all recordings of a person are drawn together, it says what measuring on other people would change.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from tal_jax.evaluation.detection import match_detections
from tal_jax.evaluation.segment_table import SegmentTable

CHUNK = 2**22  # weights in memory at once


def drawn_recordings(rng: np.random.Generator, groups: np.ndarray, resamples: int) -> np.ndarray:
    """How often each recording counts when as many groups of recordings are drawn, with replacement, as there are.

    Args:
      rng: the generator that all draws come from.
      groups: [R] which recordings are drawn together: those with the same value.
      resamples: number of resamples, N.

    Returns:
      [N, R] float64.
    """
    names, group = np.unique(groups, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    return drawn[:, group].astype(np.float64)


def resampled_precision(
    truth: SegmentTable,
    detections: SegmentTable,
    classes: int,
    tiou: Sequence[float] | np.ndarray,
    recordings: np.ndarray,
    weights: np.ndarray,
    ignored: SegmentTable | None = None,
) -> np.ndarray:
    """Average mAP of every resample, as `evaluate_detections` would find it for a set that holds recordings repeatedly.

    Copies of a detection share a rank. Classes without ground truth in a resample are left out of its mean.

    Args:
      truth: the annotated segments of all recordings.
      detections: the scored segments of all recordings.
      classes: number of classes, K.
      tiou: [A] thresholds of temporal IoU in (0, 1].
      recordings: [R] the values of the tables' `recording`, rising.
      weights: [N, R] how often each counts.
      ignored: segments whose overlap excuses a detection, see `evaluate_detections`.

    Returns:
      [N] means over thresholds and classes, NaN where no recording with ground truth was drawn.

    Raises:
      InputError: there is no ground truth.
    """
    matching = match_detections(truth, detections, tiou, ignored)
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
            own = weights[part][:, column[mine]]
            precision = _precision(matching.hits[:, mine], matching.misses[:, mine], own, positives[part])
            sums[part] += precision
            counted[part] += positives[part] > 0
    return np.divide(sums, counted, out=np.full(len(weights), np.nan), where=counted > 0)


def _precision(hits: np.ndarray, misses: np.ndarray, weights: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Interpolated average precision of one class, mean over thresholds: [A, n], [A, n], [N, n], [N] -> [N]."""
    everything = np.cumsum(weights, axis=1)
    result = np.zeros(len(weights))
    for line, wrong in zip(hits, misses, strict=True):
        counts = line | wrong
        total = everything if counts.all() else np.cumsum(weights * counts, axis=1)
        at = np.flatnonzero(line)  # the highest precision at some recall is that of a true positive
        found = np.cumsum(weights[:, at], axis=1)
        precision = np.divide(found, total[:, at], out=np.zeros_like(found), where=total[:, at] > 0)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        result += np.sum(weights[:, at] * best, axis=1)
    scale = len(hits) * positives
    return np.divide(result, scale, out=np.zeros_like(result), where=positives > 0)


def interval(
    difference: float,
    resampled: Sequence[np.ndarray],
    groups: Sequence[int],
    by_seed: np.ndarray,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """Where a mean difference between two settings would lie with other recordings and other seeds.

    The variances of all folds and of the seeds add up, and Student's t with Satterthwaite's degrees of freedom allows
    for how few groups and seeds there are: a bootstrap of three seeds is far too sure (a quarter of its 95 % intervals
    leave out a difference of zero where seeds matter most). Resamples of G groups vary by (G - 1) / G of what G new
    groups of the same size would. What was learned from stays the same in all of them.

    Args:
      difference: the mean difference over folds and seeds.
      resampled: for each of F folds, [N] differences, mean over seeds, in resamples of the fold's recordings; NaN where
        nothing was drawn.
      groups: for each fold, how many groups are drawn, two or more.
      by_seed: [S] the difference of each seed; of one seed alone nothing is known of the others.
      coverage: the probability that the interval holds the difference.
    """
    parts = [
        (float(np.nanvar(fold)) * count / (count - 1) / len(groups) ** 2, count - 1)
        for fold, count in zip(resampled, groups, strict=True)
    ]
    if len(by_seed) > 1:
        parts.append((float(np.var(by_seed, ddof=1)) / len(by_seed), len(by_seed) - 1))
    variance = sum(value for value, _ in parts)
    if not variance:
        return difference, difference
    freedom = variance**2 / sum(value**2 / free for value, free in parts)
    half = float(stdtrit(freedom, 0.5 * (1 + coverage))) * variance**0.5
    return difference - half, difference + half
