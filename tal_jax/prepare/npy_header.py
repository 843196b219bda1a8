"""The header of a `.npy` file: text of a few bounded forms, checked before anything is allocated by what it says.

NumPy's own reader evaluates it as Python text, and takes negative, boolean and endless sizes.
"""

import math
import re
from typing import BinaryIO, NamedTuple

import numpy as np

LONGEST = 1 << 12  # bytes of a header; one of numbers has about 128
AXES = 32
_SIZE = r"\s*(?:0|[1-9]\d{0,17})L?\s*"
_VALUE = rf"'[^'\\]*'|\"[^\"\\]*\"|True|False|\[[^\]]*\]|\((?:{_SIZE},){{0,32}}(?:{_SIZE}|\s*)\)"
_ENTRY = rf"\s*['\"](descr|fortran_order|shape)['\"]\s*:\s*({_VALUE})\s*"
_HEADER = re.compile(rf"\s*\{{{_ENTRY},{_ENTRY},{_ENTRY}(?:,\s*)?\}}\s*", re.ASCII)
_PLAIN = re.compile(r"[<>|=]?[a-zA-Z?]\d{0,4}")
_NUMBER = re.compile(r"[<>|=]?(?:\?|b1|[iu][1248]|f(?:[248]|12|16))")


class NotNumbers(ValueError):
    """The array is of objects, text, structs or the like."""


class Header(NamedTuple):
    """What a header says."""

    shape: tuple[int, ...]
    fortran: bool  # whether the first axis varies fastest
    dtype: np.dtype  # of real numbers
    end: int  # bytes from the start of the file to the data

    @property
    def size(self) -> int:
        """How many bytes of data the array has."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: BinaryIO) -> Header:
    """Reads the header at the start of a file.

    Args:
      file: a file at its start; it is left at the data.

    Raises:
      NotNumbers: the array holds anything but real numbers.
      ValueError: this is no header of a `.npy` file, or its sizes are none; says what in one line.
    """
    magic = file.read(8)
    if len(magic) < 8 or magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("it does not begin as one")
    length = file.read(2 if magic[6] == 1 else 4)
    count = int.from_bytes(length, "little")
    end = len(magic) + len(length) + count
    if end > LONGEST:
        raise ValueError(f"a header of {count} bytes")
    raw = file.read(count)
    found = _HEADER.fullmatch(raw.decode("latin-1"))
    entries = dict(zip(found.groups()[::2], found.groups()[1::2], strict=True)) if found else {}
    if len(raw) < count or len(entries) < 3:
        raise ValueError("a header without type, order and sizes of an array")
    descr, order, sizes = entries["descr"], entries["fortran_order"], entries["shape"]
    if order not in ("True", "False") or sizes[0] != "(" or descr[0] not in "'\"[":
        raise ValueError("a header without type, order and sizes of an array")
    kind = descr[1:-1]
    if not _NUMBER.fullmatch(kind):
        raise NotNumbers(f"an array of {_name(kind)}")
    shape = tuple(int(size) for size in re.findall(r"\d+", sizes))
    if len(shape) > AXES or math.prod(shape) >= 1 << 60 or max(shape, default=0) >= 1 << 48:
        raise ValueError("sizes beyond all memory")
    if len(shape) == 1 and "," not in sizes:
        raise ValueError("sizes that are no tuple")
    try:
        return Header(shape, order == "True", np.dtype(kind), end)
    except TypeError as e:
        raise NotNumbers(f"an array of {kind}, which this machine lacks") from e


def _name(kind: str) -> str:
    if kind.strip("<>|=") == "O":
        return "Python objects, which are never read"
    try:
        return str(np.dtype(kind)) if _PLAIN.fullmatch(kind) else " ".join(f"{kind:.40}".split())
    except (TypeError, ValueError):
        return kind
