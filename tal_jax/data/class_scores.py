"""Video-level class scores: the JSON that classifiers are handed out in, and one compact Parquet file."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tal_jax.data.json_files import read_json
from tal_jax.data.parquet import check_texts, floats, read_table, write_table
from tal_jax.devices.processes import say
from tal_jax.errors import InputError
from tal_jax.words import nearest

LABELS_KEY = b"labels"


def write(
    path: str | os.PathLike,
    labels: Sequence[str],
    items: Iterable[tuple[str, Any]],
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Writes video-level class scores: columns id and scores (K float32), the labels in the file's metadata.

    Args:
      path: the Parquet file to write; it appears when it is complete.
      labels: K class names, the order of the scores.
      items: (id, scores [K]) of every recording.
      origin: a note on where it comes from, see `parquet.read_origin`.

    Raises:
      InputError: scores of another length, or not finite.
      OSError: the disk is full.
    """
    ids, rows = [], []
    for id, scores in items:
        ids.append(id)
        rows.append(_class_row(f"{path}: record {id}", scores, len(labels)))
    flat = np.concatenate(rows) if rows else np.empty(0, np.float32)
    scores = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), max(len(labels), 1))
    table = pa.table({"id": pa.array(ids, pa.string()), "scores": scores})
    write_table(path, table.replace_schema_metadata({LABELS_KEY: json.dumps(list(labels)).encode()}), origin)


def read(path: str | os.PathLike, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads video-level class scores of `write`, or the JSON that classifiers are handed out in.

    JSON layouts: `{"results": {id: [{"label": .., "score": ..}, ..]}}`, `{id: {label: score}}`, and
    `{"class": [..], "results": {id: [score, ..]}}`, where a row may lie in a list of its own, `[[score, ..]]`. Classes
    that a recording does not list score 0. Where some scores of the last layout are negative all are logits, and their
    softmax is taken, which is said.

    Args:
      path: the file to read, Parquet if its name ends so, else JSON.
      labels: the K classes of the data set.

    Returns:
      id -> [K] float32, in the order of `labels`.

    Raises:
      InputError: the file is missing or of another layout, or its labels are not those of the data set.
    """
    if Path(path).suffix == ".parquet":
        table = read_table(path, ("id", "scores"))
        try:
            names = json.loads((table.schema.metadata or {})[LABELS_KEY])
            column = table["scores"].combine_chunks()
            values = floats(column.flatten()).reshape(len(table), len(names))
            ids = table["id"].to_pylist()
            check_texts(ids)
            ids = [str(id) for id in ids]
        except (KeyError, ValueError, TypeError, AttributeError, pa.ArrowException) as e:
            raise InputError(f"{path}: not a file of class scores ({e!s:.80}): write it again") from e
        if not np.isfinite(values).all():
            raise InputError(f"{path}: record {ids[np.argmin(np.isfinite(values).all(axis=1))]}: scores are not finite")
        if len(set(ids)) < len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise InputError(f"{path}: record {twice}: comes twice: keep one")
        return dict(zip(ids, _reorder(path, values, names, labels), strict=True))
    return _read_json(path, labels)


def _read_json(path: str | os.PathLike, labels: Sequence[str]) -> dict[str, np.ndarray]:
    content = read_json(path, "the path of the class scores")
    results = content.get("results", content) if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise InputError(f'{path}: expected {{"results": {{id: [{{"label", "score"}}, ..]}}}}, got {content!r:.60}')
    if "class" in content:
        names = content["class"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f'{path}: "class" must be the list of labels, got {names!r:.60}')
        rows = [_class_row(f"{path}: record {id}", _unwrapped(row), len(names)) for id, row in results.items()]
        values = np.stack(rows) if rows else np.empty((0, len(names)), np.float32)
        if values.min(initial=0) < 0:
            say(f"{path}: some scores are negative, so they are taken for logits: their softmax is used")
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        return dict(zip(results, _reorder(path, values, names, labels), strict=True))
    position = {label: i for i, label in enumerate(labels)}
    scores = {}
    for id, entry in results.items():
        row = np.zeros(len(labels))
        try:
            pairs = entry.items() if isinstance(entry, dict) else [(item["label"], item["score"]) for item in entry]
            for label, score in pairs:
                if label not in position:
                    near = nearest(str(label), labels) or "rename it"
                    raise InputError(f"{path}: record {id}: label {label!r:.60} is not of the data set: {near}")
                row[position[label]] = _number(score)
        except (TypeError, KeyError, ValueError, AttributeError) as e:
            if isinstance(e, InputError):
                raise
            raise InputError(f"{path}: record {id}: expected labels with scores, got {entry!r:.60}") from e
        scores[id] = _class_row(f"{path}: record {id}", row, len(labels))
    return scores


def _reorder(path: str | os.PathLike, values: np.ndarray, names: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    if sorted(names) != sorted(labels):
        odd = sorted(set(names) ^ set(labels)) or ["a label that comes twice"]
        raise InputError(f"{path}: its {len(names)} labels are not the {len(labels)} of the data set, see {odd[0]!r}")
    position = {name: i for i, name in enumerate(names)}
    return values[:, [position[label] for label in labels]]


def _unwrapped(row: Any) -> Any:
    """What lies in a list of its own, as the scores that TCANet was released with."""
    return row[0] if isinstance(row, list) and len(row) == 1 and isinstance(row[0], list) else row


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):  # some write numbers as text
        raise TypeError(f"{value!r:.40} is no number")
    return float(value)


def _class_row(where: str, scores: Any, count: int) -> np.ndarray:
    try:
        given = np.asarray(scores)
        if isinstance(scores, list) and any(isinstance(x, bool) for x in scores):
            raise TypeError
        with np.errstate(over="ignore"):  # what is infinite then is refused below
            row = given.astype(np.float32) if given.dtype.kind in "iuf" else np.empty(0, np.float32)
    except (ValueError, TypeError):
        row = np.empty(0, np.float32)
    if row.shape != (count,) or not np.isfinite(row).all():
        raise InputError(f"{where}: expected {count} finite class scores, got {scores!r:.60}: write them again")
    return row
