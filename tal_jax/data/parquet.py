"""Parquet files: written whole or not at all, read with a clear word where they are not what was expected."""

import os
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from tal_jax.data import atomic
from tal_jax.errors import InputError


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


def write_table(path: str | os.PathLike, table: pa.Table) -> None:
    """Writes a table, compressed. Raises OSError where the disk is full."""
    with atomic.writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
