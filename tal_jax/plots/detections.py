"""A picture of some recordings: what is there, and beneath it what was detected."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tal_jax.data import atomic
from tal_jax.data.annotations import Recording
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.ground_truth import Selection
from tal_jax.evaluation.segment_table import SegmentTable, descending
from tal_jax.plots.colours import NO_CLASS, label_colours, remark
from tal_jax.plots.fonts import choose_fonts, say_missing
from tal_jax.words import allowed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LANES = 3  # rows of detections: enough to see what competes, few enough to see it
LEGEND_CLASSES = 20
LABEL_CHARACTERS = 32
BAR = 0.8  # height of a bar, of 1


@dataclass(frozen=True)
class Bar:
    """One segment of the picture."""

    start: float  # seconds
    end: float
    label: int  # -1: without a class of the ground truth
    weight: float  # score over the best score of the recording; 1 for ground truth


@dataclass(frozen=True)
class Strip:
    """One recording of the picture."""

    id: str
    duration: float  # seconds
    truth: tuple[Bar, ...]
    lanes: tuple[tuple[Bar, ...], ...]  # at most LANES, the best detections in the first; no overlaps in a lane
    hidden: int  # detections of sufficient score for which there was no lane


def strips(
    selection: Selection, recordings: Mapping[str, Recording], count: int = 6, min_score: float = 0.3
) -> tuple[Strip, ...]:
    """Chooses what to show: a sample of the subset that does not look at the results.

    Args:
      selection: truth and detections, as `ground_truth.select` returns them.
      recordings: the annotated recordings by id, as `annotations.read` returns them, for their durations.
      count: the most recordings to show, evenly spaced over those that have segments, in order of their ids.
      min_score: detections below this fraction of the best score of their recording are not shown.

    Raises:
      InputError: `count` is not positive or `min_score` not in [0, 1].
    """
    if count < 1 or not 0 <= min_score <= 1:
        raise InputError(f"--recordings={count} --min_score={min_score}: at least one recording, a fraction in [0, 1]")
    annotated = sorted(np.unique(selection.truth.recording).tolist(), key=lambda r: selection.recordings[r])
    places = np.unique(np.linspace(0, len(annotated) - 1, min(count, len(annotated))).round().astype(int))

    def strip(index: int) -> Strip:
        truth = _table_bars(selection.truth.take(selection.truth.recording == index), 1.0)
        table = selection.detections.take(selection.detections.recording == index)
        id = selection.recordings[index]
        return _strip(id, truth, table, recordings[id].duration, min_score)

    return tuple(strip(annotated[place]) for place in places)


def strips_without_truth(
    submission: Submission, durations: Mapping[str, float], count: int, min_score: float
) -> tuple[Strip, ...]:
    """As `strips`, of recordings without ground truth.

    Args:
      submission: the detections.
      durations: the durations of all recordings by id, in seconds.
      count: the most recordings to show.
      min_score: as in `strips`.
    """
    ids = submission.recordings
    places = np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int))
    table = submission.table
    return tuple(
        _strip(ids[i], (), table.take(table.recording == i), durations[ids[i]], min_score) for i in places.tolist()
    )


def caption(shown: Sequence[Strip], recordings: int, min_score: float) -> str:
    """Says what the picture of some of the recordings shows, and what it leaves out."""
    text = (
        f"{len(shown)} of {recordings} recordings, evenly spaced by name. Detections with at least "
        f"{100 * min_score:g} % of the best score of their recording; the stronger, the more opaque."
    )
    hidden = sum(strip.hidden for strip in shown)
    return f"{text} {hidden} weaker overlapping ones are not drawn." if hidden else text


def draw(shown: Sequence[Strip], labels: Sequence[str], text: str, classes: Iterable[str] = ()) -> "Figure":
    """The picture, without any state of pyplot.

    Args:
      shown: the strips to draw, at least one.
      labels: [K] names of the classes, as the bars number them.
      text: the caption below the picture.
      classes: names of all classes of the data set, by which `label_colours` colours them; none: `labels`.

    Raises:
      InputError: matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    present = sorted({bar.label for strip in shown for bar in _bars(strip)} - {-1})
    by_name = label_colours(classes, labels)
    colour = {label: by_name[labels[label]] for label in present} | {-1: NO_CLASS}
    heights = [1.9 + len(strip.lanes) for strip in shown]
    inches = 0.2 * sum(heights) + 1.5
    figure = Figure(figsize=(11, inches), layout="constrained", facecolor="white")
    grid = figure.subplots(len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
    durations = [strip.duration for strip in shown]
    shared = max(durations) <= 3 * min(durations)
    for axes, strip in zip(grid, shown, strict=True):
        last = strip is shown[-1]
        _draw_strip(axes, strip, colour, max(durations) if shared else strip.duration)
        axes.tick_params(axis="x", labelbottom=last or not shared, labelsize=8, colors="#404040")
    grid[-1].set_xlabel("seconds", fontsize=9)

    handles = [Patch(color=colour[label]) for label in present[:LEGEND_CLASSES]]
    names = [printable(labels[label]) for label in present[:LEGEND_CLASSES]]
    if len(present) > LEGEND_CLASSES:
        handles.append(Patch(alpha=0))
        names.append(f"and {len(present) - LEGEND_CLASSES} more")
    if any(bar.label < 0 for strip in shown for bar in _bars(strip)):
        handles.append(Patch(color=NO_CLASS))
        names.append("without a class")
    columns = min(5, len(names))
    legend = figure.legend(handles, names, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
    for entry in legend.get_texts():
        entry.set_parse_math(False)  # a label may hold dollar signs
    figure.supxlabel(" ".join([text, remark(by_name)]).strip(), fontsize=8, color="#404040", parse_math=False)
    return figure


def require_matplotlib() -> None:
    """Raises InputError, with the extra that brings it, where matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as e:
        raise InputError('pictures need matplotlib: pip install "tal_jax[demo]"') from e


def save(figure: "Figure", path: str | os.PathLike) -> None:
    """Writes the picture in the format of the suffix, all of it or nothing; says which letters no font has.

    Raises:
      InputError: a suffix that is not .png, .pdf or .svg, or a folder that does not exist.
    """
    from matplotlib import rc_context

    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in ("png", "pdf", "svg"):
        raise InputError(f"{path}: unknown kind of picture: let the name end in .png, .pdf or .svg")
    line = choose_fonts(figure)
    if suffix == "svg":
        line = ""  # its text stays text, which whoever shows it draws with fonts of his own
    try:
        with atomic.writing(path) as temporary, warnings.catch_warnings(), rc_context({"svg.fonttype": "none"}):
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")  # which is said in one line
            figure.savefig(temporary, format=suffix, dpi=130)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as e:
        raise InputError(f"{path}: cannot be written ({e.strerror}): name a file in a folder that exists") from e
    say_missing(path, line)


def printable(label: str) -> str:
    """The label on one line of at most LABEL_CHARACTERS."""
    text = "".join(c if allowed(c) else "?" for c in label)
    return text if len(text) <= LABEL_CHARACTERS else text[: LABEL_CHARACTERS - 1] + "…"


def _strip(id: str, truth: tuple[Bar, ...], table: SegmentTable, duration: float | None, min_score: float) -> Strip:
    best = table.score.max(initial=0.0)
    table = table.take(descending(table.score))
    table = table.take((table.score >= min_score * best) & (table.segments[:, 1] > table.segments[:, 0]))
    lanes: list[list[Bar]] = []
    hidden = 0
    for bar in _table_bars(table, best or 1.0):
        free = (lane for lane in lanes if all(bar.end <= other.start or bar.start >= other.end for other in lane))
        lane = next(free, None)
        if lane is None and len(lanes) < LANES:
            lanes.append(lane := [])
        if lane is None:
            hidden += 1
        else:
            lane.append(bar)
    ends = [bar.end for bar in (*truth, *(bar for lane in lanes for bar in lane))]
    return Strip(id, duration or max(ends, default=1.0), truth, tuple(map(tuple, lanes)), hidden)


def _table_bars(table: SegmentTable, scale: float) -> tuple[Bar, ...]:
    columns = table.segments.tolist(), table.label.tolist(), (table.score / scale).tolist()
    return tuple(Bar(start, end, label, weight) for (start, end), label, weight in zip(*columns, strict=True))


def _bars(strip: Strip) -> tuple[Bar, ...]:
    return (*strip.truth, *(bar for lane in strip.lanes for bar in lane))


def _draw_strip(axes: "Axes", strip: Strip, colour: Mapping[int, str], width: float) -> None:
    """Ground truth, where there is any, at height 0, lanes of detections beneath at 1.3, 2.3, .."""
    top = 1.3 if strip.truth else 0.0
    lanes = [(top + i, lane) for i, lane in enumerate(strip.lanes)]
    last = lanes[-1][0] if lanes else 0.0
    axes.axvspan(0, strip.duration, color="#F2F2F2", zorder=0)
    for y, bars in [(0.0, strip.truth), *lanes]:
        for bar in bars:
            alpha = 1.0 if bars is strip.truth else 0.15 + 0.75 * min(max(bar.weight, 0.0), 1.0)
            width_of_bar, paint = bar.end - bar.start, colour[bar.label]
            axes.barh(y, width_of_bar, left=bar.start, height=BAR, zorder=2, color=paint, alpha=alpha, linewidth=0)
    for bar in strip.truth:  # lets the eye carry the true boundaries down to the detections
        axes.vlines((bar.start, bar.end), -0.5, last + 0.6, color="#606060", linewidth=0.5, zorder=1, alpha=0.6)
    axes.set_xlim(0, width)
    axes.set_ylim(last + 0.6, -0.6)
    ticks = {"truth": 0.0} if strip.truth else {}
    ticks |= {"found": float(np.mean([y for y, _ in lanes]))} if lanes else {}
    axes.set_yticks(list(ticks.values()), list(ticks), fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_title(printable(strip.id), fontsize=9, loc="left", pad=2, parse_math=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color="#A0A0A0", linewidth=0.6)
