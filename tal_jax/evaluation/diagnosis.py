"""What kind of mistake each false positive is, and what it costs: the error diagnosis of DETAD.

Alwassel, Heilbron, Escorcia, Ghanem: Diagnosing Error in Temporal Action Detectors, ECCV 2018, sections 4 and 5.
"""

from dataclasses import dataclass

import numpy as np

from tal_jax.evaluation.detection import Matching, average_precision
from tal_jax.evaluation.segment_table import SegmentTable, overlapping_pairs

KINDS = ("true positive", "double detection", "wrong label", "localisation", "confusion", "background")
TRUE_POSITIVE, DOUBLE, WRONG_LABEL, LOCALISATION, CONFUSION, BACKGROUND = range(len(KINDS))
EXCUSED = len(KINDS)  # no mistake: it overlaps an ignored segment, see `evaluate_detections`
MIN_TIOU = 0.1  # a detection that overlaps less than this with everything is background
SMALLEST = float(np.finfo(np.float64).tiny)
MULTIPLES = 10  # DETAD looks at the best 10 G detections of a class that has G segments


@dataclass(frozen=True, eq=False)
class Overlaps:
    """How far each of n detections overlaps with segments of its own class, and with those of all others."""

    own: np.ndarray  # [n] float64: highest temporal IoU within the recording
    other: np.ndarray  # [n] float64


def overlaps(truth: SegmentTable, detections: SegmentTable) -> Overlaps:
    """The highest temporal IoUs of every detection.

    Args:
      truth: G annotated segments.
      detections: n scored segments; those of unknown recordings (negative) overlap with nothing, those without a class
        have no segments of their own class.
    """
    row, truth_row, tiou = overlapping_pairs(
        truth.recording, truth.segments, detections.recording, detections.segments, SMALLEST
    )
    own = truth.label[truth_row] == detections.label[row]
    best = np.zeros((2, len(detections)))
    np.maximum.at(best, (own.astype(np.int64), row), tiou)
    return Overlaps(own=best[1], other=best[0])


def kinds_of(matching: Matching, overlap: Overlaps) -> np.ndarray:
    """The kind of every detection at every threshold: an index into KINDS, [A, n] int8, in the order of the matching.

    With threshold t and MIN_TIOU = 0.1, a detection is
    - a true positive where the evaluator says so;
    - a double detection: tIoU >= t with a segment of its class, which a better one has found;
    - a wrong label: tIoU >= t with a segment of another class;
    - a localisation error: 0.1 <= tIoU < t with a segment of its class;
    - a confusion error: 0.1 <= tIoU < t with a segment of another class;
    - background: tIoU < 0.1 with everything.
    If several hold, the first one counts, so that each detection has one kind. What is no false positive because of an
    ignored segment is EXCUSED.

    Args:
      matching: which of n detections are right, at A thresholds.
      overlap: the overlaps of all detections, in the order of the table that was matched.
    """
    own, other = overlap.own[matching.row], overlap.other[matching.row]
    threshold = matching.tiou[:, None]
    conditions = [matching.found >= 0, own >= threshold, other >= threshold]
    conditions += [np.broadcast_to(tiou >= MIN_TIOU, conditions[0].shape) for tiou in (own, other)]
    kinds = np.full(matching.found.shape, BACKGROUND, np.int8)
    for kind in reversed(range(BACKGROUND)):
        kinds[conditions[kind]] = kind
    kinds[~(matching.hits | matching.misses)] = EXCUSED
    return kinds


@dataclass(frozen=True, eq=False)
class Profile:
    """Counts of kinds among the best detections of every class, by rank."""

    counts: np.ndarray  # [A, MULTIPLES, kinds] int64: with rank (m G, (m + 1) G] in their class of G segments
    considered: int  # detections that were counted
    beyond: int  # of a class of the truth, with a higher rank

    @property
    def totals(self) -> np.ndarray:
        """[A, kinds] int64."""
        return self.counts.sum(axis=1)


def profile(matching: Matching, kinds: np.ndarray, truth: SegmentTable) -> Profile:
    """The false positive profile (DETAD, section 4, figure 5): which kinds are there among the best G, 2 G, .. 10 G?

    Args:
      matching: which of n detections are right, at A thresholds.
      kinds: [A, n] kinds of error, from `kinds_of`.
      truth: the annotated segments, G of each class; detections of other classes are not considered.
    """
    classes = 1 + max(truth.label.max(initial=-1), matching.label.max(initial=-1))
    positives = np.bincount(truth.label, minlength=classes)
    rank = np.arange(len(matching.label)) - np.searchsorted(matching.label, matching.label, side="left")
    segments = positives[matching.label]
    multiple = rank // np.maximum(segments, 1)
    known = segments > 0
    considered = known & (multiple < MULTIPLES)
    counts = np.zeros((len(matching.tiou), MULTIPLES, len(KINDS)), np.int64)
    for a in range(len(counts)):
        counted = considered & (kinds[a] < EXCUSED)
        np.add.at(counts[a], (multiple[counted], kinds[a, counted]), 1)
    return Profile(counts, int(considered.sum()), int(known.sum() - considered.sum()))


def cost(matching: Matching, kinds: np.ndarray, truth: SegmentTable) -> np.ndarray:
    """What each kind of false positive costs (DETAD, section 4, figure 5): the mAP without it, minus the mAP.

    At every threshold the detections of the kind at that threshold are left out. A false positive occupies no segment,
    so all others keep theirs, and precision cannot fall.

    Args:
      matching: which of n detections are right, at A thresholds.
      kinds: [A, n] kinds of error, from `kinds_of`.
      truth: the annotated segments.

    Returns:
      [kinds, A] float64, fractions, none negative; 0 for true positives.
    """
    positives = np.bincount(truth.label)
    counted = np.flatnonzero(positives)
    precision = np.zeros((len(KINDS), len(matching.tiou), len(counted)))
    for column, k in enumerate(counted.tolist()):
        part = matching.of_class(k)
        hits, misses, kind = matching.hits[:, part], matching.misses[:, part], kinds[:, part]
        precision[TRUE_POSITIVE, :, column] = average_precision(hits, misses, positives[k])
        for removed in range(DOUBLE, len(KINDS)):
            precision[removed, :, column] = average_precision(hits, misses & (kind != removed), positives[k])
    mean = precision.mean(axis=2)
    return mean - mean[TRUE_POSITIVE]
