"""Results of an evaluation as text and as JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tal_jax.checks.ignored import FLAG, uncounted
from tal_jax.evaluation.detection import DetectionResult
from tal_jax.evaluation.ground_truth import Selection
from tal_jax.evaluation.proposals import ProposalResult
from tal_jax.evaluation.segment_table import overlaps_any
from tal_jax.evaluation.text_table import text_table, threshold_name
from tal_jax.words import shown

REPORTED_NUMBERS = (1, 5, 10, 100)
NAMES_SHOWN = 5


def detection_table(result: DetectionResult) -> str:
    """AP in percent: a line per class, then the mean; a column per threshold, then the average."""
    return str(result)


def detection_json(result: DetectionResult) -> dict[str, Any]:
    """`{"average_mAP", "mAP": {"0.50": ..}, "per_class": {label: {"average", "0.50", ..}}}`, fractions in [0, 1]."""
    names = [threshold_name(t) for t in result.tiou]

    def by_threshold(values: np.ndarray) -> dict[str, float]:
        return dict(zip(names, values.tolist(), strict=True))

    per_class = {
        label: {"average": float(column.mean()), **by_threshold(column)}
        for label, column in zip(result.labels, result.per_class.T, strict=True)
    }
    return {"average_mAP": result.average, "mAP": by_threshold(result.mAP), "per_class": per_class}


def proposal_table(result: ProposalResult) -> str:
    """Recall in percent: a line per threshold, then AR@AN and AUC; a column per average number of proposals."""
    columns = [n - 1 for n in REPORTED_NUMBERS]
    rows = [(threshold_name(t), *(100 * recall[columns])) for t, recall in zip(result.tiou, result.recall, strict=True)]
    table = text_table(
        ("recall % at tIoU", *(f"AN={result.numbers[c]:g}" for c in columns)),
        rows,
        ("AR", *(100 * result.average_recall[columns])),
    )
    return f"{table}\nAUC {100 * result.auc:.2f}"


def proposal_json(result: ProposalResult) -> dict[str, Any]:
    """`{"AUC", "AR": {"1", "5", "10", "100"}}`, fractions in [0, 1]."""
    recall = result.average_recall
    return {"AUC": result.auc, "AR": {str(n): float(recall[n - 1]) for n in REPORTED_NUMBERS}}


def account(selection: Selection) -> list[str]:
    """One line for everything that entered the evaluation, was left out, or cannot match."""
    s = selection
    counts = (s.recordings, "recordings"), (s.truth, "segments"), (s.labels, "classes"), (s.detections, "detections")
    lines = [", ".join(f"{len(items)} {what}" for items, what in counts)]
    if s.ignored_labels:
        told = ", ".join(f"{shown(label)}: {count}" for label, count in s.ignored_labels.items())
        overlapping = int(overlaps_any(s.detections, s.excusing).sum())
        lines.append(
            f"ignored: segments of classes that do not count ({told}): {overlapping} detections overlap with them, and "
            "count only where they find something"
        )
    if s.silent_labels and (s.detections.label >= 0).any():
        lines.append(f"classes without a detection: {_names(s.silent_labels, 'label')}: AP 0")
    if unsure := uncounted(s.labels):
        lines.append(f"counted: {_names(unsure, 'label')}, which THUMOS14's kit leaves out: {FLAG} does")
    if s.missing:
        lines.append(f"missing: {_names(s.missing)} not in the detections: their segments count as misses")
    if s.blocked:
        lines.append(f"blocked: {_names(s.blocked)} left out")
    if s.untimed:
        lines.append(f"labels alone: {_names(s.untimed)} left out: nobody knows where their actions are")
    if s.untimed_labels:
        lines.append(
            f"labels alone: {s.untimed_labels} detections left out, of classes that their recording has somewhere"
        )
    if s.unmatched:
        lines.append(f"blocked: {_names(s.unmatched, 'id')} of no recording")
    if s.ignored:
        lines.append(f"ignored: {_names(s.ignored)} of another subset")
    if s.unknown:
        lines.append(f"unknown: {_names(s.unknown)} not in the ground truth: their detections are false positives")
    if s.unknown_labels:
        total = sum(s.unknown_labels.values())
        labels = _names(tuple(s.unknown_labels), "label")
        lines.append(f"unknown: {labels} not in the ground truth of the subset: {total} detections match nothing")
    if s.degenerate_truth:
        lines.append(f"degenerate: {s.degenerate_truth} annotated segments without positive length count as misses")
    if s.degenerate_detections:
        lines.append(f"degenerate: {s.degenerate_detections} detections without positive length match nothing")
    return lines


def _names(names: Sequence[str], what: str = "recording") -> str:
    first = ", ".join(shown(name) for name in names[:NAMES_SHOWN])
    more = ", .." if len(names) > NAMES_SHOWN else ""
    return f"{len(names)} {what}{'s' if len(names) != 1 else ''} ({first}{more})"
