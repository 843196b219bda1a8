"""Mean average precision of detections, with the semantics of the ActivityNet evaluator, vectorised over recordings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tal_jax.data.annotation_fields import number
from tal_jax.errors import InputError
from tal_jax.evaluation.segment_table import SegmentTable, descending, group_ranks, overlapping_pairs, overlaps_any
from tal_jax.evaluation.text_table import text_table, threshold_name

HIGH_TIOU = np.round(np.linspace(0.5, 0.95, 10), 2)  # thresholds of HACS and ActivityNet
LOW_TIOU = np.round(np.linspace(0.1, 0.7, 7), 2)  # those of THUMOS14 in the weakly-supervised literature


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """Average precision (fractions in [0, 1]) at A thresholds of K classes."""

    tiou: np.ndarray  # [A] float64
    per_class: np.ndarray  # [A, K] float64
    labels: tuple[str, ...]  # [K]

    @property
    def mAP(self) -> np.ndarray:
        """[A] float64: mean over classes."""
        return self.per_class.mean(axis=1)

    @property
    def average(self) -> float:
        """Mean over thresholds and classes."""
        return float(self.per_class.mean())

    def __str__(self) -> str:
        rows = [(label, *row, row.mean()) for label, row in zip(self.labels, 100 * self.per_class.T, strict=True)]
        mean = ("mAP", *(100 * self.mAP), 100 * self.average)
        return text_table(("AP % at tIoU", *map(threshold_name, self.tiou), "average"), rows, mean)


def evaluate_detections(
    truth: SegmentTable,
    detections: SegmentTable,
    labels: Sequence[str],
    tiou: Sequence[float] | np.ndarray,
    ignored: SegmentTable | None = None,
) -> DetectionResult:
    """Interpolated average precision for every class and threshold.

    The rules are those of `compute_average_precision_detection` of the ActivityNet evaluator:
    - The detections of a class, over all recordings, are taken by falling score (equal scores: see `pairs.descending`).
    - Each takes the segment of highest temporal IoU among the ground truth of its recording and class that is still
      free, if that reaches the threshold, and is a true positive; else it is a false positive. Of equal IoUs the later
      one wins.
    - Precision is interpolated as in VOC 2010 and later: the highest precision at this or a larger recall.
    - A class without detections counts 0. Ground truth without positive length stays in the count and is never matched.
    - Detections in recordings without ground truth of the class are false positives.
    - With ignored segments, which that evaluator does not know, the rule is THUMOS14's: a detection that finds nothing
      and overlaps with one of them, of whatever class, leaves the ranking.

    Args:
      truth: the annotated segments, `recording` and `label` not negative.
      detections: the scored segments. Those whose label is not an index into `labels` change nothing.
      labels: [K] names of the classes. Classes without ground truth are left out of the result, as in the original.
      tiou: [A] thresholds in (0, 1].
      ignored: where nobody knows what should be found; labels are not looked at.

    Raises:
      InputError: there is no ground truth.
    """
    matching = match_detections(truth, detections, tiou, ignored)
    return precision_of(matching, truth, labels)


@dataclass(frozen=True, eq=False)
class Matching:
    """Which segment each detection of a known class found, at A thresholds."""

    tiou: np.ndarray  # [A] float64
    row: np.ndarray  # [n] int64: rows of the detections with a class, by class, then by rank
    label: np.ndarray  # [n] int64, rising
    found: np.ndarray  # [A, n] int32: row of the truth, -1 for none
    excused: np.ndarray  # [n] bool: what finds nothing is no false positive either, for it overlaps an ignored segment

    @property
    def hits(self) -> np.ndarray:
        """[A, n] bool: true positives."""
        return self.found >= 0

    @property
    def misses(self) -> np.ndarray:
        """[A, n] bool: false positives; what is neither does not count."""
        return (self.found < 0) & ~self.excused

    def of_class(self, k: int) -> slice:
        """The detections of class k, best first."""
        return slice(*np.searchsorted(self.label, [k, k + 1]).tolist())


def match_detections(
    truth: SegmentTable,
    detections: SegmentTable,
    tiou: Sequence[float] | np.ndarray,
    ignored: SegmentTable | None = None,
) -> Matching:
    """Greedy one-to-one matching by falling score, see `evaluate_detections`.

    Args:
      truth: the annotated segments, `recording` and `label` not negative.
      detections: the scored segments. Those without a class (label below 0) are left out.
      tiou: [A] thresholds in (0, 1].
      ignored: segments whose overlap excuses a detection, of any class.

    Raises:
      InputError: there is no ground truth.
    """
    thresholds = np.asarray(tiou, np.float64)
    if len(truth) == 0:
        raise InputError("ground truth: no segment to find: choose a subset that is annotated")
    order = descending(detections.score)
    order = order[np.argsort(detections.label[order], kind="stable")]
    order = order[detections.label[order] >= 0]
    ranked = detections.take(order)
    found = _match(truth, ranked, thresholds)
    return Matching(thresholds, order, ranked.label, found, overlaps_any(ranked, ignored))


def precision_of(matching: Matching, truth: SegmentTable, labels: Sequence[str]) -> DetectionResult:
    """Average precision from a matching, see `evaluate_detections`."""
    positives = np.bincount(truth.label, minlength=len(labels))
    counted = np.flatnonzero(positives)
    per_class = np.zeros((len(matching.tiou), len(counted)))
    for column, k in enumerate(counted.tolist()):
        part = matching.of_class(k)
        per_class[:, column] = average_precision(matching.hits[:, part], matching.misses[:, part], positives[k])
    return DetectionResult(matching.tiou, per_class, tuple(labels[k] for k in counted.tolist()))


def _match(truth: SegmentTable, ranked: SegmentTable, thresholds: np.ndarray) -> np.ndarray:
    """Greedy one-to-one matching of detections that are sorted by class, then by rank: rows of the truth [A, n] int32.

    Recordings and classes do not interact, so the r-th candidates of all (recording, class) groups are matched at once:
    the loop runs over ranks inside a group, not over detections.
    """
    found = np.full((len(thresholds), len(ranked)), -1, np.int32)
    recordings = 1 + max(truth.recording.max(), ranked.recording.max(initial=0))
    known = np.flatnonzero(ranked.recording >= 0)
    truth_group = truth.label * recordings + truth.recording
    group = ranked.label[known] * recordings + ranked.recording[known]
    row, truth_row, overlap = overlapping_pairs(
        truth_group, truth.segments, group, ranked.segments[known], thresholds.min()
    )
    # A candidate is a detection that reaches the lowest threshold with something; all others are false positives.
    candidate, pairs_of_candidate = np.unique(row, return_counts=True)
    turn = group_ranks(group[candidate])
    by_turn = np.argsort(np.repeat(turn, pairs_of_candidate), kind="stable")
    row, truth_row, overlap = known[row[by_turn]], truth_row[by_turn], overlap[by_turn]
    ends = np.cumsum(np.bincount(turn, weights=pairs_of_candidate).astype(np.int64))

    free = np.ones((len(thresholds), len(truth)), bool)
    begin = 0
    for end in ends:
        here, there, value = row[begin:end], truth_row[begin:end], overlap[begin:end]
        starts = np.flatnonzero(np.r_[True, here[1:] != here[:-1]])
        pairs = np.diff(np.r_[starts, len(here)])
        allowed = np.where(free[:, there] & (value >= thresholds[:, None]), value, -1.0)  # [A, pairs]
        best = np.maximum.reduceat(allowed, starts, axis=1)  # [A, detections]
        is_best = allowed == np.repeat(best, pairs, axis=1)
        last_best = np.maximum.reduceat(np.where(is_best, np.arange(len(here)), -1), starts, axis=1)
        threshold, column = np.nonzero(best >= 0)
        taken = there[last_best[threshold, column]]
        found[threshold, here[starts[column]]] = taken
        free[threshold, taken] = False
        begin = end
    return found


def average_precision(hits: np.ndarray, misses: np.ndarray, positives: int, normal: float | None = None) -> np.ndarray:
    """Interpolated average precision of detections that are sorted by rank; those that are neither do not exist.

    Args:
      hits: [A, n] bool, true positives.
      misses: [A, n] bool, false positives.
      positives: number of segments that there are to find, at least one.
      normal: N of the normalised precision N R / (N R + F), with recall R and F false positives up to a rank (DETAD,
        section 5, after Hoiem et al. 2012); None: the number of positives, which gives the usual precision.

    Returns:
      [A] float64.
    """
    if hits.shape[1] == 0:
        return np.zeros(len(hits))
    true, false = np.cumsum(hits, axis=1), np.cumsum(misses, axis=1)
    gain = true if normal is None else true * (normal / positives)
    precision = np.divide(gain, gain + false, out=np.zeros(hits.shape), where=(true + false) > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (envelope * hits).sum(axis=1) / positives


def parse_tiou(text: str) -> np.ndarray:
    """Thresholds [A] float64 from "first:last:step", both ends included, or from a comma list.

    Raises:
      InputError: not numbers in (0, 1], a step that does not lead from first to last, or a threshold given twice.
    """
    hint = 'use first:last:step such as "0.5:0.95:0.05", or a list such as "0.3,0.5,0.7"'
    try:
        if ":" in text:
            first, last, step = (number("threshold", part) for part in text.split(":"))
            steps = round((last - first) / step)
            if not (0 <= steps < 1000 and abs(first + steps * step - last) <= 1e-6):  # also when one is not a number
                raise InputError(f"--tiou: {text!r}: steps of {step:g} do not lead from {first:g} to {last:g}: {hint}")
            values = first + step * np.arange(steps + 1)
        else:
            values = np.array([number("threshold", part) for part in text.split(",")])
    except InputError:
        raise
    except (ValueError, ZeroDivisionError, OverflowError) as e:
        raise InputError(f"--tiou: {text!r} is not a set of thresholds: {hint}") from e
    # 0.5 + 4 * 0.05 is a hair above 0.7; rounding makes both ways of writing a threshold the same number.
    values = np.round(values, 9)
    if not ((values > 0) & (values <= 1)).all() or len(np.unique(values)) < len(values):
        raise InputError(f"--tiou: {text!r}: thresholds must lie in (0, 1] and differ: {hint}")
    return values
