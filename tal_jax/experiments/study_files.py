"""A study's results as files: every training (CSV, Parquet), the summary (CSV, Markdown), and pictures."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import csv

from tal_jax.data import atomic
from tal_jax.data.csv_cells import cell
from tal_jax.data.parquet import write_table
from tal_jax.errors import InputError
from tal_jax.experiments import study_groups
from tal_jax.experiments.study_summary import Line, Outcome
from tal_jax.plots.colours import COLOURS
from tal_jax.plots.detections import require_matplotlib, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {"average_mAP": "mAP 0.5:0.95", "low_mAP": "mAP 0.1:0.7"}
SHOWN = ("average_mAP", "low_mAP", "mAP@0.50", "mAP@0.75", "mAP@0.95", "AR@1", "AR@5", "AR@10", "AR@100", "AUC")


def write(
    folder: Path, outcomes: Sequence[Outcome], lines: Sequence[Line], *, title: str, baseline: str, prefix: str = ""
) -> list[str]:
    """Writes runs.csv, runs.parquet, summary.csv and summary.md, groups.csv where recordings are grouped, and pictures.

    Without matplotlib there are no pictures (summary.png, groups.png).

    Args:
      folder: an existing folder, into which the files go.
      outcomes: the outcomes of all trainings.
      lines: the summary, see `study_summary.summarize`.
      title: the title of the pictures.
      baseline: the name of the row that others are compared with.
      prefix: comes before the name of each file.

    Returns:
      The names of the files.
    """
    trainings = pa.Table.from_pylist(_aligned([_training(o) for o in outcomes]))
    write_table(folder / f"{prefix}runs.parquet", trainings)
    _write_csv(folder / f"{prefix}runs.csv", trainings)
    _write_csv(folder / f"{prefix}summary.csv", pa.Table.from_pylist(_aligned([_flat(line) for line in lines])))
    atomic.write(folder / f"{prefix}summary.md", markdown(lines).encode())
    names = ["summary.md", "summary.csv", "runs.csv", "runs.parquet"]
    groups = study_groups.by_group(outcomes)
    for stale in ("summary.png", "groups.png", "groups.csv"):
        (folder / f"{prefix}{stale}").unlink(missing_ok=True)
    if len(groups):
        _write_csv(folder / f"{prefix}groups.csv", groups)
        names.append("groups.csv")
    try:
        if any("average_mAP" in line.mean for line in lines):
            save(draw(lines, title, baseline), folder / f"{prefix}summary.png")
            names.append("summary.png")
        if len(groups):
            save(study_groups.draw(groups, title), folder / f"{prefix}groups.png")
            names.append("groups.png")
    except InputError as e:  # no matplotlib: the tables are there
        names.append(f"no picture ({e})")
    return [name if name.startswith("no ") else f"{prefix}{name}" for name in names]


def markdown(lines: Sequence[Line]) -> str:
    """The summary as a Markdown table in percent: mean and standard deviation over seeds, differences, intervals."""
    scores = [name for name in SHOWN if any(name in line.mean for line in lines)]
    compared = [name for name in TITLES if any(name in line.differences for line in lines)]
    head = ["row", *(TITLES.get(name, name) for name in scores), *(f"difference, {TITLES[name]}" for name in compared)]
    table = [head, ["---"] * len(head)]
    for line in lines:
        cells = [line.row]
        for name in scores:
            text = "-"
            if name in line.mean:
                text = f"{100 * line.mean[name]:.1f}"
                known = name in TITLES and math.isfinite(line.spread[name])
                text += f" ± {100 * line.spread[name]:.1f}" if known else ""
            cells.append(text)
        for name in compared:
            d = line.differences.get(name)
            bold = "**" if d and d.verdict != "unclear" else ""
            cells.append(f"{bold}{100 * d.value:+.1f}{bold} ({100 * d.low:+.1f}, {100 * d.high:+.1f})" if d else "")
        table.append(cells)
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


def draw(lines: Sequence[Line], title: str, baseline: str) -> "Figure":
    """A picture of every seed's average mAP beside the mean, and of the differences to the baseline with intervals."""
    require_matplotlib()
    from matplotlib.figure import Figure

    shown = [line for line in lines if "average_mAP" in line.mean]
    figure = Figure(figsize=(11, 1.6 + 0.3 * len(shown)), layout="constrained", facecolor="white")
    scores, differences = figure.subplots(1, 2, sharey=True, width_ratios=(1.2, 1))
    for y, line in enumerate(shown):
        values = [100 * v for v in line.by_seed["average_mAP"]]
        scores.plot(values, [y] * len(values), "o", color=COLOURS[5], markersize=5, alpha=0.8)
        scores.plot(100 * line.mean["average_mAP"], y, "|", color=COLOURS[0], markersize=14, markeredgewidth=2.5)
        d = line.differences.get("average_mAP")
        if d:
            colour = {"better": COLOURS[2], "worse": COLOURS[1], "unclear": "#606060"}[d.verdict]
            differences.plot([100 * d.low, 100 * d.high], [y, y], color=colour, linewidth=2.5)
            differences.plot(100 * d.value, y, "o", color=colour, markersize=6)
    scores.set_yticks(range(len(shown)), [line.row for line in shown], fontsize=9)
    scores.invert_yaxis()
    scores.set_xlabel("average mAP (%), 0.5:0.05:0.95: seeds, and their mean", fontsize=9)
    differences.axvline(0, color="#808080", linewidth=0.8)
    differences.set_xlabel(f"difference to {baseline}, with its 95 % interval", fontsize=9)
    for axes in (scores, differences):
        axes.grid(axis="x", color="#E0E0E0", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
    figure.suptitle(title, fontsize=10)
    return figure


def _training(outcome: Outcome) -> dict[str, Any]:
    return {"row": outcome.row, "fold": outcome.fold, "seed": outcome.seed, **outcome.values}


def _flat(line: Line) -> dict[str, Any]:
    flat: dict[str, Any] = {"row": line.row, "trainings": line.trainings}
    for name, value in line.mean.items():
        flat |= {name: value, f"{name}_sd": line.spread[name]}
    for name, d in line.differences.items():
        flat |= {f"{name}_difference": d.value, f"{name}_low": d.low, f"{name}_high": d.high, f"{name}_is": d.verdict}
    return flat


def _aligned(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with the keys of all of them: Arrow takes a table's columns from its first row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]


def _write_csv(path: Path, table: pa.Table) -> None:
    buffer = io.BytesIO()
    columns = [[cell(value) for value in c.to_pylist()] if pa.types.is_string(c.type) else c for c in table.columns]
    csv.write_csv(pa.table(columns, names=[cell(name) for name in table.column_names]), buffer)
    atomic.write(path, buffer.getvalue())
