"""Detections files in the ActivityNet submission layout.

`{"version": .., "external_data": {..}, "results": {id: [{"label": .., "score": .., "segment": [start, end]}]}}`,
times in seconds; proposals have no label.
"""

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tal_jax.data.json_files import read_json, write_json
from tal_jax.errors import InputError
from tal_jax.evaluation.segment_table import SegmentTable, segment_table
from tal_jax.words import check_label

LAYOUT = '{"label": .., "score": .., "segment": [start, end]}'


@dataclass(frozen=True, eq=False)
class Submission:
    """What a detections file holds; the table's indices point into `recordings` and `labels`."""

    recordings: tuple[str, ...]  # in file order, also those without detections
    labels: tuple[str, ...]  # in order of first appearance
    table: SegmentTable  # label -1: a proposal
    version: str = "tal_jax"
    external_data: Mapping[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for cycles, which takes half of the time among a million small lists that have none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
def read(path: str | os.PathLike) -> Submission:
    """Reads a detections file; numbers may be strings.

    Raises:
      InputError: missing, not JSON of this layout, an id twice, a label that is no line of text, or a number that is
        not finite; names file, id and row.
    """
    content = read_json(path, "--detections")
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise InputError(f'{path}: no object "results": expected {{"results": {{id: [{LAYOUT}]}}}}')
    label_index: dict[str | None, int] = {None: -1}
    recording, label, numbers = [], [], []
    for index, (key, rows) in enumerate(results.items()):
        if not isinstance(rows, list):
            raise InputError(f"{path}: {key!r}: expected a list of {LAYOUT}")
        for place, row in enumerate(rows):
            try:
                start, end = row["segment"]
                name = row.get("label")
                numbers.append((start, end, row["score"]))
                label.append(label_index.setdefault(name, len(label_index) - 1))
            except (KeyError, TypeError, ValueError, AttributeError):
                raise InputError(f"{path}: {key!r}: detection {place} is not {LAYOUT}: {row!r:.120}") from None
            recording.append(index)
    for name in label_index:
        if name is not None:
            check_label(path, name)
    values = _numbers(path, numbers, recording, tuple(results))
    labels = tuple(name for name in label_index if name is not None)
    table = segment_table(recording, label, values[:, :2], values[:, 2])
    version, external = content.get("version"), content.get("external_data")
    return Submission(tuple(results), labels, table, str(version or ""), external if isinstance(external, dict) else {})


@_uncollected()
def write(path: str | os.PathLike, submission: Submission) -> None:
    """Writes a detections file, all of it or nothing; every recording gets an entry, in the order given.

    Raises:
      InputError: the folder does not exist or cannot be written.
    """
    results: dict[str, list[dict[str, Any]]] = {key: [] for key in submission.recordings}
    table = submission.table
    rows = zip(
        table.recording.tolist(), table.label.tolist(), table.segments.tolist(), table.score.tolist(), strict=True
    )
    for recording, label, segment, score in rows:
        named = {"label": submission.labels[label]} if label >= 0 else {}
        results[submission.recordings[recording]].append({**named, "score": score, "segment": segment})
    content = {"version": submission.version, "external_data": dict(submission.external_data), "results": results}
    write_json(path, content)


def _numbers(path: str | os.PathLike, rows: list[tuple], recording: list[int], ids: tuple[str, ...]) -> np.ndarray:
    """[n, 3] float64 (start, end, score); the slow search for the culprit runs only when something is wrong."""
    try:
        values = np.array(rows, np.float64).reshape(len(rows), 3)
        if np.isfinite(values).all():
            return values
    except (TypeError, ValueError, OverflowError):
        pass
    invalid = [place for place, row in enumerate(rows) if not _finite(row)]
    culprit = recording[invalid[0]]
    more = f" (and {len(invalid) - 1} more)" if len(invalid) > 1 else ""
    raise InputError(
        f"{path}: {ids[culprit]!r}: detection {invalid[0] - recording.index(culprit)}{more}: (start, end, score) = "
        f"{rows[invalid[0]]!r:.90} are not three finite numbers: correct or remove it"
    )


def _finite(row: tuple) -> bool:
    try:
        return bool(np.isfinite(np.array(row, np.float64).reshape(3)).all())
    except (TypeError, ValueError, OverflowError):
        return False
