"""Proposals: the files of other systems, and one compact Parquet file for a whole set."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tal_jax.data.parquet import check_texts, floats, read_table, write_table
from tal_jax.errors import InputError
from tal_jax.guarded.seal import check_file
from tal_jax.tables import number_tables

FILE_NAME = "proposals.parquet"
START_NAMES = ("start", "xmin", "t-start", "t_start", "tmin", "begin")
END_NAMES = ("end", "xmax", "t-end", "t_end", "tmax")
SCORE_NAMES = ("score", "xscore", "confidence", "prob")


class Proposals(Mapping[str, tuple[np.ndarray, np.ndarray]]):
    """id -> (segments [P, 2] float32 seconds, scores [P] float32), best first; views into arrays for the whole set."""

    def __init__(self, ids: Sequence[str], bounds: np.ndarray, segments: np.ndarray, scores: np.ndarray):
        """Takes [N] ids in any order, bounds [N + 1] of their rows, and all rows: segments [R, 2], scores [R]."""
        self._row = {id: i for i, id in enumerate(ids)}
        self._bounds, self._segments, self._scores = bounds, segments, scores

    def __getitem__(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        i = self._row[id]
        rows = slice(self._bounds[i], self._bounds[i + 1])
        return self._segments[rows], self._scores[rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)


def read_csv(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Reads the proposals of one recording: a header with `start,end,score` or `xmin,xmax,score`, times in seconds.

    The dialect may be any that `number_tables.read` reads.

    Returns:
      (segments [P, 2] float32, scores [P] float32), in file order; further columns are ignored.

    Raises:
      InputError: the file is missing, lacks a column, or holds anything but finite numbers with start < end.
    """
    columns: list[int] = []

    def others(names: Sequence[str]) -> list[int]:
        plain = [name.strip().lower() for name in names]
        columns[:] = [_column(path, plain, wanted) for wanted in (START_NAMES, END_NAMES, SCORE_NAMES)]
        return [i for i in range(len(plain)) if i not in columns]

    try:
        table = number_tables.read(path, str(path), others, may_be_empty=True)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): check --proposals") from e
    if table.names is None:
        _column(path, (), START_NAMES)
    with np.errstate(over="ignore"):  # what is infinite then is refused below
        rows = table.values[:, columns].astype(np.float32)
    return check(str(path), rows[:, :2], rows[:, 2])


def check(where: str, segments: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns segments [P, 2] and scores [P] as float32.

    Raises:
      InputError: naming `where`, for other shapes, a number that is not finite, or a segment with start >= end.
    """
    segments, scores = np.asarray(segments, np.float32), np.asarray(scores, np.float32)
    if segments.shape != (*scores.shape, 2) or scores.ndim != 1:
        raise InputError(f"{where}: expected [P, 2] segments and [P] scores, got {segments.shape} and {scores.shape}")
    good = np.isfinite(segments).all(axis=1) & np.isfinite(scores) & (segments[:, 0] < segments[:, 1])
    if not good.all():
        i = int(np.argmin(good))
        start, end = segments[i]
        raise InputError(f"{where}: proposal {i + 1} is {start}-{end} s, score {scores[i]}: remove or correct it")
    return segments, scores


def write(
    path: str | os.PathLike, items: Iterable[tuple[str, Any, Any]], origin: Mapping[str, Any] | None = None
) -> None:
    """Writes the proposals of a set: rows sorted by id, then by falling score. The file appears when it is complete.

    Args:
      path: the Parquet file to write, with columns id, start, end, score.
      items: (id, segments [P, 2] seconds, scores [P]) of every recording, in any order; P = 0 is kept as a recording
        without proposals.
      origin: a note on where it comes from, see `parquet.read_origin`.

    Raises:
      InputError: an id comes twice, or see `check`.
      OSError: the disk is full.
    """
    checked: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for id, segments, scores in items:
        if id in checked:
            raise InputError(f"{path}: record {id}: comes twice: keep one")
        checked[id] = check(f"{path}: record {id}", segments, scores)
    ids = sorted(checked)
    orders = [np.argsort(-checked[id][1], kind="stable") for id in ids]
    segments = np.concatenate(
        [checked[id][0][order] for id, order in zip(ids, orders, strict=True)] or [np.empty((0, 2))]
    )
    scores = np.concatenate([checked[id][1][order] for id, order in zip(ids, orders, strict=True)] or [np.empty(0)])
    codes = np.repeat(np.arange(len(ids), dtype=np.int32), [len(order) for order in orders])
    table = pa.table(
        {
            "id": pa.DictionaryArray.from_arrays(codes, pa.array(ids, pa.string())),
            "start": pa.array(segments[:, 0], pa.float32()),
            "end": pa.array(segments[:, 1], pa.float32()),
            "score": pa.array(scores, pa.float32()),
        }
    )
    # recordings without proposals have no row, but they are not missing either
    empty = [id for id, order in zip(ids, orders, strict=True) if not len(order)]
    table = table.replace_schema_metadata({b"empty": json.dumps(empty).encode()})
    write_table(path, table, origin)


def read(path: str | os.PathLike) -> Proposals:
    """Reads a Parquet file of `write`, or `proposals.parquet` of a prepared set if `path` is a folder.

    Rows may come in any order; they are sorted where they are not.

    Raises:
      InputError: the file is missing, damaged, lacks a column, or is not the one that its set was sealed with.
    """
    path = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
    check_file(path)
    table = read_table(path, ("id", "start", "end", "score"))
    try:
        segments = np.stack([floats(table["start"]), floats(table["end"])], axis=1)
        scores = floats(table["score"])
        codes, names = _codes(table["id"])
        empty = json.loads((table.schema.metadata or {}).get(b"empty", b"[]"))
    except (pa.ArrowException, ValueError, TypeError) as e:
        raise InputError(f"{path}: not a proposal file ({e!s:.80}): write it again") from e
    check(str(path), segments, scores)
    steps = np.diff(codes)
    if (steps < 0).any() or ((steps == 0) & (np.diff(scores) > 0)).any():
        order = np.lexsort((-scores, codes))
        codes, segments, scores = codes[order], segments[order], scores[order]
    bounds = np.searchsorted(codes, np.arange(len(names) + 1))
    known = set(names)
    ids = [*names, *(id for id in empty if id not in known)]
    bounds = np.concatenate([bounds, np.full(len(ids) - len(names), len(codes))])
    return Proposals(ids, bounds, segments, scores)


def _column(path: str | os.PathLike, names: Sequence[str], wanted: Sequence[str]) -> int:
    for name in wanted:
        if name in names:
            return names.index(name)
    raise InputError(f"{path}: no column {' or '.join(wanted[:2])} among {', '.join(names)!r:.60}: add a header row")


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """[R] positions in the sorted distinct names, and the names that occur."""
    encoded = (
        column.combine_chunks() if pa.types.is_dictionary(column.type) else column.combine_chunks().dictionary_encode()
    )
    if column.null_count:
        raise ValueError("an id is missing")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    names = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    check_texts(names)
    order = np.argsort(names)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return rank[np.asarray(encoded.indices)], [str(name) for name in names[order]]
