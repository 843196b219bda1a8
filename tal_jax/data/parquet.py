"""Parquet files: written whole or not at all, read with a clear word where they are not what was expected."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tal_jax.data import atomic
from tal_jax.errors import InputError

ORIGIN_KEY = b"tal_jax.origin"  # of a file's metadata


def read_table(path: str | os.PathLike, columns: Sequence[str]) -> pa.Table:
    """Reads a table. Raises InputError if the file is missing, not Parquet, or lacks a column."""
    try:
        table = pq.read_table(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e!s:.100}): check the path, or write it again") from e
    except pa.ArrowException as e:
        raise InputError(f"{path}: not a Parquet file ({e!s:.100}): check the path, or write it again") from e
    lacking = [name for name in columns if name not in table.column_names]
    if lacking:
        raise InputError(f"{path}: no column {lacking[0]!r}: expected {', '.join(columns)}")
    return table


def floats(column: Any) -> np.ndarray:
    """A column of numbers as float32; text that looks like numbers is none.

    Args:
      column: a `pa.Array` or `pa.ChunkedArray`; where it lacks a value there is NaN, too large a one is infinite.

    Raises:
      TypeError: the column is of another type.
    """
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise TypeError(f"a column of {column.type!s:.40}, not of numbers")
    with np.errstate(over="ignore"):
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float32)


def check_texts(values: Iterable[Any]) -> None:
    """Raises TypeError where one of the ids of a column is no text: bytes, or missing."""
    for value in values:
        if not isinstance(value, str | int):  # some write numbers
            raise TypeError(f"{value!r:.40} is no id")


def read_origin(path: str | os.PathLike) -> dict[str, Any] | None:
    """What `write_table` noted on where a file comes from; None: nothing.

    Raises:
      InputError: the file is missing or not Parquet.
    """
    try:
        content = json.loads((pq.read_schema(path).metadata or {}).get(ORIGIN_KEY, b"null"))
    except (OSError, pa.ArrowException, ValueError) as e:
        raise InputError(f"{path}: cannot be read ({e!s:.100}): check the path, or write it again") from e
    return content if isinstance(content, dict) else None


def write_table(path: str | os.PathLike, table: pa.Table, origin: Mapping[str, Any] | None = None) -> None:
    """Writes a table, compressed, with a note on where it comes from. Raises OSError where the disk is full."""
    if origin is not None:
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), ORIGIN_KEY: json.dumps(dict(origin)).encode()}
        )
    with atomic.writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
