"""The knowledge of a trimmed branch: one vector of pooled features per clip, in one Parquet file."""

import os
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from tal_jax.data.parquet import read_table, write_table
from tal_jax.errors import InputError


def write(path: str | os.PathLike, items: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes columns id and features (D float32).

    Args:
      path: of the file; it appears when it is complete.
      items: (id, [D]) per clip, all of one length.

    Raises:
      OSError: the disk is full.
    """
    ids, rows = zip(*items, strict=True)
    flat = pa.array(np.concatenate(rows).astype(np.float32))
    features = pa.FixedSizeListArray.from_arrays(flat, len(rows[0]))
    write_table(path, pa.table({"id": pa.array(ids, pa.string()), "features": features}))


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads id -> [D] float32.

    Raises:
      InputError: the file is missing or of another layout, or holds something that is not finite.
    """
    table = read_table(path, ("id", "features"))
    try:
        column = table["features"].combine_chunks()
        values = np.asarray(column.flatten(), np.float32).reshape(len(table), -1)
        ids = [str(id) for id in table["id"].to_pylist()]
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as e:
        raise InputError(f"{path}: not a file of knowledge ({e!s:.80}): train the trimmed stage again") from e
    if len(ids) == 0 or not np.isfinite(values).all():
        raise InputError(f"{path}: empty, or not finite: train the trimmed stage again")
    return dict(zip(ids, values, strict=True))
