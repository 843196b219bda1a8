"""TensorBoard's event files, of scalars alone: the writers that libraries offer import PyTorch or TensorFlow.

A file is TFRecord framing around protocol buffers of TensorFlow's event.proto: `Event` has wall_time = 1 (double),
step = 2 (int64) and one of file_version = 3, summary = 5, session_log = 7; a summary has values = 1 with tag = 1 and
simple_value = 2 (float); a session log has status = 1, of which START = 1 lets a reader drop that step and all later
ones of the files before.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tal_jax.data.tfrecord import framed

START = 1


class EventFile:
    """One event file, which every call appends to and which can be read after each."""

    def __init__(self, folder: Path, *, start: int | None = None):
        """Begins a file.

        Args:
          folder: an existing folder, in which TensorBoard looks.
          start: the first step that will be written again, so that readers drop it and all later ones of the files
            before; None where there are no such steps.
        """
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("ab")
        self._write(0, _message(3, b"brain.Event:2"))
        if start is not None:
            self._write(start, _message(7, _number(1, START)))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Appends the scalars of a step by their tags; NaN and infinity are written too."""
        values = (_message(1, name.encode()) + b"\x15" + _float32(value) for name, value in scalars.items())
        self._write(step, _message(5, b"".join(_message(1, value) for value in values)))

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _write(self, step: int, what: bytes) -> None:
        self._file.write(framed(b"\x09" + struct.pack("<d", time.time()) + _number(2, step) + what))
        self._file.flush()


def _float32(value: float) -> bytes:
    with np.errstate(over="ignore"):  # what is too large for it is infinite
        return np.asarray(value, np.float64).astype("<f4").tobytes()


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last byte have the eighth set."""
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
