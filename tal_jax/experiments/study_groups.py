"""A study's scores by group of recordings (by person, say), as a table and a picture: who gains?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.experiments.study_summary import THRESHOLDS, Outcome
from tal_jax.plots.detections import printable, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 60  # groups in a picture


def by_group(outcomes: Sequence[Outcome]) -> pa.Table:
    """Scores of every training on each group alone.

    Args:
      outcomes: the outcomes of all trainings.

    Returns:
      Columns row, fold, seed, group, recordings, and the scores of THRESHOLDS (fractions); no rows where every
      recording is a group of its own, for trainings without classes, or for groups without ground truth.
    """
    lines = []
    grouped = any(len(np.unique(o.groups)) < len(o.recordings) for o in outcomes)
    for o in [o for o in outcomes if grouped and "average_mAP" in o.values]:
        for name in np.unique(o.groups):
            own = o.recordings[o.groups == name]
            truth, found = (table.take(np.isin(table.recording, own)) for table in (o.truth, o.found))
            if len(truth):
                scores = {
                    score: evaluate_detections(truth, found, o.labels, tiou, o.excusing).average
                    for score, tiou in THRESHOLDS.items()
                }
                part = {"row": o.row, "fold": o.fold, "seed": o.seed, "group": str(name), "recordings": len(own)}
                lines.append(part | scores)
    return pa.Table.from_pylist(lines)


def draw(scores: pa.Table, title: str) -> "Figure":
    """Average mAP in percent, mean over seeds, of each row (across) on each group (down), the first MOST of them.

    Args:
      scores: at least one row, as `by_group` returns them.
      title: the title of the picture.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    lines = scores.to_pylist()
    rows = list(dict.fromkeys(line["row"] for line in lines))
    every = sorted({line["group"] for line in lines})
    groups = every[:MOST]
    cells = np.full((len(groups), len(rows)), np.nan)
    for y, group in enumerate(groups):
        for x, row in enumerate(rows):
            values = [line["average_mAP"] for line in lines if (line["group"], line["row"]) == (group, row)]
            cells[y, x] = 100 * np.mean(values) if values else np.nan
    figure = Figure(figsize=(2.2 + 0.95 * len(rows), 1.6 + 0.28 * len(groups)), layout="constrained", facecolor="white")
    axes = figure.subplots()
    image = axes.imshow(cells, cmap="viridis", aspect="auto", vmin=0, vmax=100)
    for (y, x), value in np.ndenumerate(cells):
        if np.isfinite(value):
            axes.text(
                x, y, f"{value:.1f}", ha="center", va="center", fontsize=8, color="white" if value < 60 else "black"
            )
    axes.set_xticks(range(len(rows)), rows, fontsize=8, rotation=30, ha="right")
    axes.set_yticks(range(len(groups)), [printable(group) for group in groups], fontsize=8, parse_math=False)
    if len(groups) < len(every):
        axes.set_xlabel(f"first {len(groups)} of {len(every)} groups", fontsize=8)
    figure.colorbar(image, ax=axes).set_label("average mAP (%), 0.5:0.05:0.95, mean over seeds", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure
