"""Clip features: a trimmed branch's pooled features, one vector per clip, in one Parquet file."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tal_jax.data.parquet import floats, read_table, write_table
from tal_jax.errors import InputError

REMEDY = "train the trimmed stage again"


def write(
    path: str | os.PathLike, items: Iterable[tuple[str, np.ndarray]], origin: Mapping[str, Any] | None = None
) -> None:
    """Writes columns id and features (D float32).

    Args:
      path: the file to write; it appears when it is complete.
      items: (id, features [D]) of every clip, at least one, all of one length.
      origin: a note on where it comes from, see `parquet.read_origin`.

    Raises:
      OSError: the disk is full.
    """
    ids, rows = zip(*items, strict=True)
    flat = pa.array(np.concatenate(rows).astype(np.float32))
    features = pa.FixedSizeListArray.from_arrays(flat, len(rows[0]))
    write_table(path, pa.table({"id": pa.array(ids, pa.string()), "features": features}), origin)


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads id -> [D] float32.

    Raises:
      InputError: the file is missing or of another layout, names a clip twice, or holds something that is not finite.
    """
    table = read_table(path, ("id", "features"))
    ids = table["id"].to_pylist()
    try:
        column = table["features"].combine_chunks()
        widths = set(pc.list_value_length(column).to_pylist())
        values = floats(column.flatten())
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as e:
        raise InputError(f"{path}: not a file of clip features ({e!r:.80}): {REMEDY}") from e
    if not all(isinstance(id, str) for id in ids) or len(widths) != 1 or not min(widths):
        raise InputError(f"{path}: not a file of clip features, one id and as many numbers for every clip: {REMEDY}")
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise InputError(f"{path}: clip {twice} comes twice: {REMEDY}")
    values = values.reshape(len(ids), -1)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise InputError(f"{path}: clip {ids[bad[0]]}: not finite: {REMEDY}")
    return dict(zip(ids, values, strict=True))
