"""A picture of class activation sequences (CAS): what is there, and beneath it what each of several models sees."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tal_jax.errors import InputError
from tal_jax.plots.colours import label_colours, remark
from tal_jax.plots.detections import LEGEND_CLASSES, Bar, printable, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VISIBLE = 0.2  # a class that is not in the recording is drawn where its CAS rises above this
ABSENT = (0, (4, 1.5))  # dashes of such a class
COLUMNS = 2  # of recordings, from four on: up to three, each has the whole width
CAPTION_CHARACTERS = 165  # in a line
# Inches:
WIDTH = 11.0
TRUTH_HEIGHT, PANEL_HEIGHT, PANEL_GAP = 0.22, 0.38, 0.07
BLOCK_MARGIN = 0.6  # id above, time axis below
LEGEND_LINE, CAPTION_LINE = 0.2, 0.16
LEGEND_POINTS = 9


@dataclass(frozen=True, eq=False)
class Sequences:
    """One recording of the picture."""

    id: str
    duration: float  # seconds
    truth: tuple[Bar, ...]
    stride: float  # seconds per snippet
    rows: Mapping[str, np.ndarray]  # row name -> CAS [T, K] in [0, 1], T >= 1 real snippets, in the order to be drawn


def choose(ids_with_truth: Sequence[str], count: int) -> list[str]:
    """Chooses what to show without a look at any result: evenly spaced in the order of the names.

    Args:
      ids_with_truth: ids of the recordings that have segments, in any order.
      count: the most recordings to choose.

    Raises:
      InputError: `count` is not positive.
    """
    if count < 1:
        raise InputError(f"{count} recordings: a picture shows at least one")
    names = sorted(set(ids_with_truth))
    places = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int))
    return [names[place] for place in places]


def draw(shown: Sequence[Sequences], labels: Sequence[str], text: str) -> "Figure":
    """The picture, without any state of pyplot: a block per recording, a panel per row, as Figure 7 of the report.

    A panel has a filled curve for every class of the recording's truth and a dashed one for every other class whose
    CAS rises above VISIBLE in it.

    Args:
      shown: the recordings to draw, at least one.
      labels: [K] names of all classes of the data set, by which `label_colours` colours them.
      text: the caption below the picture.

    Raises:
      InputError: matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    true = {bar.label for one in shown for bar in one.truth}
    absent = {label for one in shown for cas in one.rows.values() for label in _absent(one, cas)}
    present = [*sorted(true), *sorted(absent - true)]
    by_name = label_colours(labels)
    colour = {label: by_name[labels[label]] for label in present}

    columns = COLUMNS if len(shown) > 3 else 1
    lines = [shown[i : i + columns] for i in range(0, len(shown), columns)]
    heights = [BLOCK_MARGIN + _height(max(len(one.rows) for one in line)) for line in lines]
    names = [printable(labels[label]) for label in present[:LEGEND_CLASSES]]
    names += [f"and {len(present) - LEGEND_CLASSES} more"] * (len(present) > LEGEND_CLASSES)
    names += [f"not in the recording, CAS above {VISIBLE:g}"] * bool(absent)
    legend_columns = _legend_columns(names)
    caption = textwrap.wrap(f"{text} {remark(by_name)}", CAPTION_CHARACTERS)
    inches = sum(heights) + LEGEND_LINE * math.ceil(len(names) / legend_columns) + CAPTION_LINE * len(caption) + 0.4
    figure = Figure(figsize=(WIDTH, inches), layout="constrained", facecolor="white")
    grid = figure.subplots(len(lines), columns, height_ratios=heights, squeeze=False).ravel()
    durations = [one.duration for one in shown]
    shared = max(durations) <= 3 * min(durations)
    for i, (axes, one) in enumerate(zip(grid, shown, strict=False)):
        _draw_block(axes, one, colour, max(durations) if shared else one.duration)
        if i % columns and list(one.rows) == list(shown[i - 1].rows):
            axes.tick_params(axis="y", labelleft=False)  # as its neighbour
        if i + columns >= len(shown):
            axes.set_xlabel("seconds", fontsize=9)
    for axes in grid[len(shown) :]:
        axes.remove()

    handles: list = [Patch(color=colour[label]) for label in present[:LEGEND_CLASSES]]
    handles += [Patch(alpha=0)] * (len(present) > LEGEND_CLASSES)
    handles += [Line2D([], [], color="#404040", linewidth=1, linestyle=ABSENT)] * bool(absent)
    legend = figure.legend(
        handles, names, loc="outside upper center", ncols=legend_columns, frameon=False, fontsize=LEGEND_POINTS
    )
    for entry in legend.get_texts():
        entry.set_parse_math(False)  # a label may hold dollar signs
    figure.supxlabel("\n".join(caption), fontsize=8, color="#404040", parse_math=False)
    return figure


def _height(rows: int) -> float:
    return TRUTH_HEIGHT + rows * (PANEL_GAP + PANEL_HEIGHT)


def _legend_columns(names: Sequence[str]) -> int:
    """As many as surely fit: no character is wider than the font is high."""
    widths = [0.6 + LEGEND_POINTS / 72 * len(name) for name in names]
    counts = range(min(5, len(names)), 1, -1)
    return next((n for n in counts if sum(max(part) for part in np.array_split(widths, n)) <= WIDTH), 1)


def _absent(one: Sequences, cas: np.ndarray) -> list[int]:
    """The classes that are not in the recording and yet visible in this CAS [T, K]."""
    true = {bar.label for bar in one.truth}
    return [k for k in np.flatnonzero(cas.max(0) > VISIBLE).tolist() if k not in true]


def _lanes(bars: Iterable[Bar]) -> list[list[Bar]]:
    """As few rows of bars as there can be without overlaps: a segment may have two classes."""
    lanes: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda bar: (bar.start, bar.end)):
        lane = next((lane for lane in lanes if lane[-1].end <= bar.start), None)
        if lane is None:
            lanes.append(lane := [])
        lane.append(bar)
    return lanes


def _draw_block(axes: "Axes", one: Sequences, colour: Mapping[int, str], width: float) -> None:
    """The axes hold what all panels share: names, time, boundaries. The panels lie inside, from the top down."""
    count, step = len(one.rows), PANEL_GAP + PANEL_HEIGHT
    total = _height(count)
    bottoms = [step * (count - 1 - i) for i in range(count)]
    axes.axvspan(0, one.duration, color="#F2F2F2", zorder=0)
    boundaries = sorted({time for bar in one.truth for time in (bar.start, bar.end)})
    axes.vlines(boundaries, 0, total, color="#606060", linewidth=0.5, zorder=1, alpha=0.6)
    axes.set_xlim(0, width)
    axes.set_ylim(0, total)
    centres = [total - TRUTH_HEIGHT / 2, *(bottom + PANEL_HEIGHT / 2 for bottom in bottoms)]
    names = ["truth", *map(printable, one.rows)]
    axes.set_yticks(centres, names, fontsize=8.5, parse_math=False)
    axes.tick_params(axis="y", length=0, pad=14)  # the panels' scales lie between
    axes.tick_params(axis="x", labelsize=8, colors="#404040")
    axes.set_title(printable(one.id), fontsize=9, loc="left", pad=3, parse_math=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color="#A0A0A0", linewidth=0.6)

    panel = axes.inset_axes((0, 1 - TRUTH_HEIGHT / total, 1, TRUTH_HEIGHT / total), xlim=(0, width), ylim=(0, 1))
    _draw_truth(panel, one, colour)
    for bottom, cas in zip(bottoms, one.rows.values(), strict=True):
        # A little above 1, where a line would lose half of its strength.
        panel = axes.inset_axes((0, bottom / total, 1, PANEL_HEIGHT / total), xlim=(0, width), ylim=(0, 1.03))
        _draw_cas(panel, one, cas, colour)


def _draw_truth(axes: "Axes", one: Sequences, colour: Mapping[int, str]) -> None:
    lanes = _lanes(one.truth)
    for i, lane in enumerate(lanes):
        for bar in lane:
            y, height, length = 1 - (i + 0.5) / len(lanes), 0.85 / len(lanes), bar.end - bar.start
            axes.barh(y, length, left=bar.start, height=height, color=colour[bar.label], linewidth=0)
    axes.set_axis_off()


def _draw_cas(axes: "Axes", one: Sequences, cas: np.ndarray, colour: Mapping[int, str]) -> None:
    """Through the centres of the snippets, level to the ends of the first and the last: one snippet is a line too."""
    seconds = one.stride * np.array([0, *(np.arange(len(cas)) + 0.5), len(cas)])
    curves = np.pad(cas, ((1, 1), (0, 0)), mode="edge")
    for label in sorted({bar.label for bar in one.truth}):
        axes.fill_between(seconds, curves[:, label], color=colour[label], alpha=0.25, linewidth=0, zorder=2)
        axes.plot(seconds, curves[:, label], color=colour[label], linewidth=1, zorder=3)
    for label in _absent(one, cas):
        axes.plot(seconds, curves[:, label], color=colour[label], linewidth=0.8, linestyle=ABSENT, zorder=4)
    axes.patch.set_visible(False)  # the boundaries shine through
    axes.set_xticks([])
    axes.set_yticks([0, 1], ["0", "1"], fontsize=6.5, color="#606060")
    lowest, highest = axes.get_yticklabels()
    lowest.set_verticalalignment("bottom")  # within the panel, clear of the next one's
    highest.set_verticalalignment("top")
    axes.tick_params(axis="y", length=2, color="#A0A0A0", pad=1.5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color="#A0A0A0", linewidth=0.6, bounds=(0, one.duration))
