"""A feature file that grows: rows go to the disk as they come, so that an hour of video needs no more memory."""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tal_jax.data import atomic, provenance
from tal_jax.prepare.npy_header import read_header


class FeatureFile:
    """An .npy file of [T, D], which has its name only when it is complete; T is known at its end alone."""

    def __init__(self, path: str | os.PathLike, width: int, dtype: Any):
        """Begins a file beside `path`. Raises OSError: it cannot be written."""
        self._width, self._dtype, self.rows = width, np.dtype(dtype), 0
        self.crc32c = 0  # of the rows' bytes
        self._open = contextlib.ExitStack()
        temporary = self._open.enter_context(atomic.writing(path))
        self._file = self._open.enter_context(temporary.open("w+b"))
        self._write_header()

    def _write_header(self) -> None:
        # NumPy leaves room in it for T to grow.
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": self._dtype.str, "fortran_order": False, "shape": (self.rows, self._width)}
        )

    def append(self, rows: np.ndarray) -> None:
        """Writes [n, D] more. Raises OSError: the disk is full."""
        stored = np.ascontiguousarray(rows, self._dtype)
        self._file.write(stored.tobytes())
        self.crc32c = provenance.sum_of(stored, self.crc32c)
        self.rows += len(rows)

    def finish(self) -> None:
        """Gives the file its name. Raises OSError, and then leaves nothing."""
        try:
            body = self._file.tell() - self.rows * self._width * self._dtype.itemsize
            self._file.seek(0)
            self._write_header()
            assert self._file.tell() == body, "the header has outgrown its place"
            self._file.flush()
        except BaseException as e:
            self.drop(e)
            raise
        self._open.close()

    def drop(self, error: BaseException | None = None) -> None:
        """Removes what was written."""
        error = error or RuntimeError("dropped")
        kind: type[BaseException] = type(error)
        trace: TracebackType | None = error.__traceback__
        with contextlib.suppress(BaseException):
            self._open.__exit__(kind, error, trace)


def is_whole(path: Path, snippets: int, width: int, crc32c: int | None = None) -> bool:
    """Whether a file is there with as many rows and columns as were written, of these bytes.

    Args:
      path: of an .npy file.
      snippets: T.
      width: D.
      crc32c: of the rows' bytes; None where nobody noted it.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file)
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError):
        return False
    if header.shape != (snippets, width) or size != header.end + header.size:
        return False
    return crc32c is None or provenance.sum_of(np.load(path, mmap_mode="r", allow_pickle=False)) == crc32c
