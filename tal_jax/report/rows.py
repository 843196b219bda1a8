"""The data of every figure as tidy rows: what the charts draw and the CSV files hold, in percent."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tal_jax.evaluation.curves import RECALL
from tal_jax.evaluation.diagnosis import KINDS, MULTIPLES
from tal_jax.evaluation.text_table import threshold_name
from tal_jax.report.analysis import Analysis
from tal_jax.report.inputs import Material

Rows = list[dict[str, Any]]
AVERAGE = "average"
POINTS = 1000  # of a training curve that a page draws


def percent(value: float) -> float:
    """A fraction as percent, with six digits after the point."""
    return round(100 * float(value), 6)


def _with_average(run: Analysis, values: np.ndarray) -> list[tuple[str, Any]]:
    """Values [A, ..] by the name of their threshold, their mean first."""
    names = [threshold_name(t) for t in run.matching.tiou]
    return [(AVERAGE, values.mean(axis=0)), *zip(names, values, strict=True)]


def mean_precision(runs: Sequence[Analysis]) -> Rows:
    """mAP by threshold."""
    return [
        {"run": run.name, "tiou": float(t), "map": percent(m)}
        for run in runs
        for t, m in zip(run.detection.tiou, run.detection.mAP, strict=True)
    ]


def recall(runs: Sequence[Analysis]) -> Rows:
    """Recall by the average number of proposals."""
    return [
        {"run": run.name, "tiou": name, "proposals": float(n), "recall": percent(r)}
        for run in runs
        for name, values in _with_average(run, run.proposals.recall)
        for n, r in zip(run.proposals.numbers, values, strict=True)
    ]


def precision_recall(runs: Sequence[Analysis]) -> Rows:
    """Precision by recall, mean over classes."""
    return [
        {"run": run.name, "tiou": threshold_name(t), "recall": percent(r), "precision": percent(p)}
        for run in runs
        for t, values in zip(run.matching.tiou, run.precision_recall, strict=True)
        for r, p in zip(RECALL, values, strict=True)
    ]


def calibration(runs: Sequence[Analysis]) -> Rows:
    """Share of true positives by score."""
    return [
        {
            "run": run.name,
            "tiou": threshold_name(t),
            "low": round(float(c.low[j]), 6),
            "high": round(float(c.high[j]), 6),
            "score": round(float(c.score[j]), 6),
            "precision": percent(values[j]),
            "detections": int(c.count[j]),
        }
        for run in runs
        for c in (run.calibration,)
        for t, values in zip(run.matching.tiou, c.precision, strict=True)
        for j in range(len(c.count))
    ]


def classes(runs: Sequence[Analysis]) -> Rows:
    """AP by class, rising with the first run's rank: best class first."""
    order = np.argsort(-runs[0].detection.per_class.mean(axis=0), kind="stable")
    return [
        {"run": run.name, "tiou": name, "class": run.detection.labels[k], "ap": percent(values[k])}
        for run in runs
        for name, values in _with_average(run, run.detection.per_class)
        for k in order.tolist()
    ]


def profile(runs: Sequence[Analysis]) -> Rows:
    """Kinds of detections by their rank within the class."""
    rows = []
    for run in runs:
        for t, counts in zip(run.matching.tiou, run.profile.counts, strict=True):
            for m in range(MULTIPLES):
                total = counts[m].sum()
                rows += [
                    {
                        "run": run.name,
                        "tiou": threshold_name(t),
                        "rank": f"{m + 1} G",
                        "kind": kind,
                        "order": i,
                        "detections": int(counts[m, i]),
                        "share": percent(counts[m, i] / total),
                    }
                    for i, kind in enumerate(KINDS)
                    if total
                ]
    return rows


def cost(runs: Sequence[Analysis]) -> Rows:
    """The mAP that each kind of false positive costs."""
    return [
        {"run": run.name, "tiou": name, "kind": KINDS[i], "cost": percent(values[i])}
        for run in runs
        for name, values in _with_average(run, run.cost.T)
        for i in range(1, len(KINDS))
    ]


def sensitivity(runs: Sequence[Analysis]) -> Rows:
    """mAP_N by coverage, length and number of the segments."""
    rows = []
    for run in runs:
        found = run.sensitivity
        overall = dict(_with_average(run, found.overall))
        for place, bucket in enumerate(found.buckets):
            missed = dict(_with_average(run, bucket.missed))
            rows += [
                {
                    "run": run.name,
                    "tiou": name,
                    "characteristic": bucket.characteristic,
                    "range": bucket.name,
                    "place": place,
                    "segments": bucket.segments,
                    "map_n": percent(value),
                    "missed": percent(missed[name]),
                    "overall": percent(overall[name]),
                }
                for name, value in _with_average(run, bucket.normalised)
            ]
    return rows


def history(materials: Sequence[Material], stage: str) -> Rows:
    """Every logged number of a stage."""
    return [
        {"run": m.name, "stage": stage, "metric": p.metric, "step": p.step, "value": p.value}
        for m in materials
        for p in m.history
        if p.stage == stage
    ]


def thinned(rows: Rows) -> Rows:
    """Of every curve of a history at most POINTS points, evenly spaced, the last one included."""
    curves: dict[tuple[str, str], Rows] = {}
    for row in rows:
        curves.setdefault((row["run"], row["metric"]), []).append(row)
    kept = []
    for curve in curves.values():
        places = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), POINTS)).round().astype(int))
        kept += [curve[i] for i in places.tolist()]
    return kept
