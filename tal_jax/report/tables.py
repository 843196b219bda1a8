"""The tables of the page as text, with the rounding of launch.evaluate."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tal_jax.evaluation.diagnosis import EXCUSED, KINDS
from tal_jax.evaluation.table import REPORTED_NUMBERS
from tal_jax.evaluation.text_table import threshold_name
from tal_jax.report.analysis import Analysis

MEANINGS = {
    "true positive": "overlaps enough with a segment of its class that no better one has found",
    "double detection": "overlaps enough with a segment of its class, but a better one has found it",
    "wrong label": "overlaps enough with a segment of another class",
    "localisation": "overlaps with a segment of its class, at least 0.1 but not enough",
    "confusion": "overlaps with a segment of another class, at least 0.1 but not enough",
    "background": "overlaps with everything by less than 0.1",
}


class Table(NamedTuple):
    """Text by rows; the first cell of a row names it."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    last: tuple[str, ...] | None = None  # a row that sums up


def precision_table(runs: Sequence[Analysis]) -> Table:
    """mAP by threshold, a row for each run."""
    head = ("mAP % at tIoU", *(threshold_name(t) for t in runs[0].detection.tiou), "average")
    rows = [(run.name, *map(_percent, run.detection.mAP), _percent(run.detection.average)) for run in runs]
    return Table(head, rows)


def recall_table(runs: Sequence[Analysis]) -> Table:
    """AR@AN, AUC and calibration error, a row for each run."""
    probabilities = any(run.calibration.error is not None for run in runs)
    head = ("average recall %", *(f"AN={n}" for n in REPORTED_NUMBERS), "AUC")
    head += ("calibration error",) if probabilities else ()
    rows = []
    for run in runs:
        recall, error = run.proposals.average_recall, run.calibration.error
        row = (run.name, *(_percent(recall[n - 1]) for n in REPORTED_NUMBERS), f"{100 * run.proposals.auc:.2f}")
        row += (("-" if error is None else _percent(error[run.main])),) if probabilities else ()
        rows.append(row)
    return Table(head, rows)


def class_table(runs: Sequence[Analysis]) -> Table:
    """AP of every class: of one run at every threshold, of several their averages."""
    labels = runs[0].detection.labels
    segments = np.bincount(runs[0].selection.truth.label)
    if len(runs) == 1:
        result = runs[0].detection
        head = ("class", "segments", *(threshold_name(t) for t in result.tiou), "average")
        columns = [*result.per_class, result.per_class.mean(axis=0)]
        means = [*result.mAP, result.average]
    else:
        head = ("class", "segments", *(f"average: {run.name}" for run in runs))
        columns = [run.detection.per_class.mean(axis=0) for run in runs]
        means = [run.detection.average for run in runs]
    rows = [
        (label, str(count), *(_percent(column[k]) for column in columns))
        for k, (label, count) in enumerate(zip(labels, segments[segments > 0].tolist(), strict=True))
    ]
    return Table(head, rows, ("mAP", str(len(runs[0].selection.truth)), *map(_percent, means)))


def kind_table(runs: Sequence[Analysis]) -> Table:
    """How many of the considered detections are of each kind, at the main threshold."""
    head: tuple[str, ...] = ("kind", "meaning")
    for run in runs:
        head += (run.name if len(runs) > 1 else "detections", "%")
    rows = []
    for i, kind in enumerate(KINDS):
        row: tuple[str, ...] = (kind, MEANINGS[kind])
        for run in runs:
            count = int(run.profile.totals[run.main, i])
            row += (f"{count:,}", _percent(count / max(run.profile.considered, 1)))
        rows.append(row)
    last: tuple[str, ...] = ("considered", "the best 10 G detections of every class, which has G true segments")
    for run in runs:
        last += (f"{run.profile.considered:,}", _percent(float(run.profile.considered > 0)))
    return Table(head, rows, last)


def kind_notes(runs: Sequence[Analysis]) -> list[str]:
    """What the diagnosis does not consider, a sentence for each run."""
    notes = []
    for run in runs:
        total = len(run.selection.detections)
        without = total - run.profile.considered - run.profile.beyond
        text = f"{run.name}: {run.profile.considered:,} of {total:,} detections are considered"
        text += f"; {run.profile.beyond:,} rank below the best 10 G of their class" if run.profile.beyond else ""
        text += f"; {without:,} have a class that the truth does not have" if without else ""
        excused = int((run.kinds[run.main] == EXCUSED).sum())
        text += f"; {excused:,} overlap with ignored segments and are no mistakes" if excused else ""
        notes.append(f"{text}.")
    return notes


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
