"""For which segments is a detector good? mAP by their coverage, length and number: the sensitivity analysis of DETAD.

Alwassel et al., ECCV 2018, section 5. The buckets are quintiles of the ground truth, where DETAD fixes them for one
data set; numbers of instances have the bounds of both of its data sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tal_jax.evaluation.detection import Matching, average_precision
from tal_jax.evaluation.segment_table import SegmentTable

CHARACTERISTICS = ("coverage", "length", "instances")
UNITS = {"coverage": "%", "length": "s", "instances": ""}
INSTANCE_BOUNDS = (1, 4, 8, 40, 80)
QUANTILES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, eq=False)
class Bucket:
    """Segments of similar coverage, length or number."""

    characteristic: str
    name: str  # the range with its unit, such as "2.1-4.7 s"
    segments: int
    normalised: np.ndarray  # [A] float64: mAP_N, fractions
    missed: np.ndarray  # [A] float64: the share of its segments that no detection found


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """mAP_N of all segments and of the buckets."""

    overall: np.ndarray  # [A] float64: mAP_N, fractions
    missed: np.ndarray  # [A] float64
    buckets: tuple[Bucket, ...]
    unknown: int  # segments of recordings without a duration: they have no coverage


def sensitivity(matching: Matching, truth: SegmentTable, durations: Sequence[float | None]) -> Sensitivity:
    """mAP_N among segments of a bucket: what was found outside of it is neither right nor wrong.

    N of the normalised precision is the mean number of segments per class, so that rare and frequent classes, and small
    and large buckets, compare. A class counts in the buckets where it has segments.

    Args:
      matching: which of n detections are right, at A thresholds.
      truth: G annotated segments.
      durations: durations of the recordings in seconds, None where they are unknown.
    """
    values = _characteristics(truth, durations)
    everything = np.ones(len(truth), bool)
    buckets = []
    for name in CHARACTERISTICS:
        known = np.isfinite(values[name])
        if name == "instances":
            bounds: tuple[float, ...] = INSTANCE_BOUNDS
        else:
            bounds = _rounded(np.quantile(values[name][known], QUANTILES)) if known.any() else ()
        place = np.searchsorted(bounds, values[name], side="left")
        for i in range(len(bounds) + 1):
            inside = known & (place == i)
            if inside.any():
                text = _range(name, bounds, i)
                buckets.append(Bucket(name, text, int(inside.sum()), *_measure(matching, truth, inside)))
    unknown = int((~np.isfinite(values["coverage"])).sum())
    return Sensitivity(*_measure(matching, truth, everything), tuple(buckets), unknown)


def _characteristics(truth: SegmentTable, durations: Sequence[float | None]) -> dict[str, np.ndarray]:
    """[G] float64 each: the share of the recording in percent, seconds, and how many of the class it holds."""
    seconds = np.array([np.nan if d is None else d for d in durations], np.float64)
    length = np.maximum(truth.segments[:, 1] - truth.segments[:, 0], 0.0)
    group = truth.recording * (1 + truth.label.max()) + truth.label
    _, inverse, count = np.unique(group, return_inverse=True, return_counts=True)
    return {
        "coverage": 100 * length / seconds[truth.recording],
        "length": length,
        "instances": count[inverse].astype(np.float64),
    }


def _measure(matching: Matching, truth: SegmentTable, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mAP_N [A] and missed share [A] of the segments `inside` [G] bool."""
    normal = len(truth) / len(np.unique(truth.label))
    positives = np.bincount(truth.label[inside], minlength=1 + int(truth.label.max()))
    found = np.append(inside, False)[matching.found]  # -1 is the last one
    misses = matching.misses
    precision = [
        average_precision(found[:, part], misses[:, part], int(positives[k]), normal)
        for k in np.flatnonzero(positives).tolist()
        for part in (matching.of_class(k),)
    ]
    return np.mean(precision, axis=0), 1 - found.sum(axis=1) / inside.sum()


def _rounded(bounds: np.ndarray) -> tuple[float, ...]:
    """Bounds with two significant digits, rising, each once."""
    return tuple(sorted({float(f"{bound:.2g}") for bound in bounds}))


def _range(characteristic: str, bounds: Sequence[float], i: int) -> str:
    unit = f" {UNITS[characteristic]}" if UNITS[characteristic] else ""
    if not bounds:
        return "all"
    if characteristic == "instances":
        low, high = (bounds[i - 1] + 1 if i else 1), (bounds[i] if i < len(bounds) else np.inf)
        return f"{low:g}" if low == high else f"over {bounds[-1]:g}" if high == np.inf else f"{low:g}-{high:g}"
    if i == 0:
        return f"up to {bounds[0]:g}{unit}"
    return f"over {bounds[-1]:g}{unit}" if i == len(bounds) else f"{bounds[i - 1]:g}-{bounds[i]:g}{unit}"
