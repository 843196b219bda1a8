"""What the page's browser over recordings knows: compact columns, the best detections of every recording."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tal_jax.data.annotations import Recording
from tal_jax.evaluation.diagnosis import KINDS
from tal_jax.evaluation.per_recording import best_of_each
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.evaluation.text_table import threshold_name
from tal_jax.plots.colours import label_colours
from tal_jax.report.analysis import Analysis
from tal_jax.report.inputs import Material
from tal_jax.report.rows import Rows, percent

EXCUSED = "overlaps with an ignored segment"  # `diagnosis.EXCUSED`
UNKNOWN = "class not in the truth"  # the kind of detections that match nothing because of their label
LEVELS = 100  # a class activation sequence is drawn in hundredths


def browser(
    runs: Sequence[Analysis], recordings: Mapping[str, Recording], materials: Sequence[Material], shown: int
) -> dict[str, Any]:
    """Columns for JSON; times in seconds, scores as given, overlaps as fractions, precision in percent.

    Flat lists hold the segments of all recordings; `offset` [V + 1] says where each recording's begin.

    Args:
      runs: the analyses of detections of the same recordings.
      recordings: the annotated recordings by id, as `annotations.read` returns them.
      materials: what workdirs add: losses and class activation sequences.
      shown: the most detections of each recording, the best ones.
    """
    chosen = runs[0].selection
    names = [*chosen.labels, *sorted({n for run in runs for n in run.label_names} - set(chosen.labels))]
    index = {name: i for i, name in enumerate(names)}
    for material in materials:
        for rows in material.sequences.values():
            for curve in rows.values():
                for label in curve.of_class:
                    if label not in index:
                        index[label] = len(names)
                        names.append(label)
    colours = label_colours({label for r in recordings.values() for label in r.labels}, names)
    ids = chosen.recordings
    truth = chosen.truth.take(np.lexsort((chosen.truth.segments[:, 0], chosen.truth.recording)))
    found = [_detections(run, index, shown) for run in runs]
    durations = [recordings[key].duration for key in ids]
    spans = np.array([d or 0.0 for d in durations])
    for table in (truth, *(f[0] for f in found)):
        np.maximum.at(spans, table.recording, table.segments[:, 1])
    return {
        "runs": [run.name for run in runs],
        "labels": names,
        "colours": [colours[name] for name in names],
        "kinds": [*KINDS, EXCUSED, UNKNOWN],
        "tiou": threshold_name(runs[0].matching.tiou[runs[0].main]),
        "shown": shown,
        "ids": list(ids),
        "duration": durations,
        "span": np.where(spans > 0, spans, 1.0).round(3).tolist(),
        "truth": {**_columns(truth, len(ids)), "label": truth.label.tolist()},
        "segments": runs[0].recordings.segments.tolist(),
        "found": [run.recordings.found[run.main].tolist() for run in runs],
        "precision": [[None if np.isnan(p) else percent(p) for p in run.recordings.precision] for run in runs],
        "detections": [{**_columns(table, len(ids)), **extra} for table, extra in found],
        "of": [
            np.bincount(r[r >= 0], minlength=len(ids)).tolist()
            for run in runs
            for r in (run.selection.detections.recording,)
        ],
        "losses": [
            {"name": m.name, "stage": m.loss_of, "values": [m.losses.get(key) for key in ids]}
            for m in materials
            if m.losses
        ],
        "sequences": _sequences(materials, ids, index),
    }


def _columns(table: SegmentTable, recordings: int) -> dict[str, list]:
    """Of a table sorted by recording."""
    offset = np.searchsorted(table.recording, np.arange(recordings + 1), side="left").tolist()
    start, end = table.segments.round(3).T.tolist()
    lane: list[int] = []
    for first, last in itertools.pairwise(offset):
        lane += lanes(start[first:last], end[first:last])
    return {"offset": offset, "start": start, "end": end, "lane": lane}


def lanes(start: Sequence[float], end: Sequence[float]) -> list[int]:
    """The first lane of each segment where it overlaps with none of those before it."""
    taken: list[list[tuple[float, float]]] = []
    found = []
    for a, b in zip(start, end, strict=True):
        free = (i for i, lane in enumerate(taken) if all(b <= c or a >= d for c, d in lane))
        place = next(free, len(taken))
        if place == len(taken):
            taken.append([])
        taken[place].append((a, b))
        found.append(place)
    return found


def _detections(run: Analysis, index: Mapping[str, int], shown: int) -> tuple[SegmentTable, dict[str, list]]:
    """The best detections of each recording, and what is known of them."""
    detections = run.selection.detections
    rows = best_of_each(detections, shown)
    kinds = np.full(len(detections), len(KINDS) + 1, np.int64)
    kinds[run.matching.row] = run.kinds[run.main]
    extra = {
        "score": [float(f"{score:.4g}") for score in detections.score[rows]],
        "label": [index[run.label_names[row]] for row in rows.tolist()],
        "own": run.overlap.own[rows].round(3).tolist(),
        "other": run.overlap.other[rows].round(3).tolist(),
        "kind": kinds[rows].tolist(),
    }
    return detections.take(rows), extra


def _sequences(materials: Sequence[Material], ids: Sequence[str], index: Mapping[str, int]) -> dict[str, list]:
    """Position of a recording -> its panels, from top to bottom: values in hundredths."""
    several = len(materials) > 1
    panels: dict[str, list] = {}
    for place, key in enumerate(ids):
        for material in materials:
            for stage, curve in material.sequences.get(key, {}).items():
                panels.setdefault(str(place), []).append(
                    {
                        "name": f"{material.name}: {stage}" if several else stage,
                        "stride": curve.stride,
                        "label": [index[name] for name in curve.of_class],
                        "value": [(LEVELS * x).round().astype(int).tolist() for x in curve.of_class.values()],
                    }
                )
    return panels


def recording_rows(content: Mapping[str, Any]) -> Rows:
    """A line for every recording, for its CSV file."""
    truth = content["truth"]
    rows = []
    for i, key in enumerate(content["ids"]):
        part = truth["label"][truth["offset"][i] : truth["offset"][i + 1]]
        row = {"id": key, "duration": content["duration"][i], "segments": content["segments"][i]}
        row["classes"] = "; ".join(dict.fromkeys(content["labels"][k] for k in part))
        for r, run in enumerate(content["runs"]):
            row[f"found at {content['tiou']}: {run}"] = content["found"][r][i]
            row[f"average AP %: {run}"] = content["precision"][r][i]
        for loss in content["losses"]:
            row[f"loss of {loss['stage']}: {loss['name']}"] = loss["values"][i]
        rows.append(row)
    return rows


def segment_rows(content: Mapping[str, Any]) -> Rows:
    """A line for every true segment and every detection that the browser shows, for its CSV file."""
    rows = []
    nothing = {"score": None, "tiou_own_class": None, "tiou_other_classes": None, "kind": None}
    for i, key in enumerate(content["ids"]):
        for what, table in zip(("truth", *content["runs"]), (content["truth"], *content["detections"]), strict=True):
            for j in range(table["offset"][i], table["offset"][i + 1]):
                row = {"id": key, "what": what, "class": content["labels"][table["label"][j]]}
                row |= {"start": table["start"][j], "end": table["end"][j]}
                if "score" in table:
                    values = table["score"][j], table["own"][j], table["other"][j], content["kinds"][table["kind"][j]]
                    row |= dict(zip(nothing, values, strict=True))
                rows.append({**row, **{k: v for k, v in nothing.items() if k not in row}})
    return rows
