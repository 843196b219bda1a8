"""Arrays of `.npz` files, whose headers and sizes are checked before they are unpacked."""

import zipfile
from collections.abc import Callable, Sequence
from typing import BinaryIO

import numpy as np

from tal_jax.prepare.npy_header import read_header

RATIO = 100  # of unpacked to packed bytes; features have 1 to 5
FREE = 64 << 20  # bytes that may be unpacked from nearly nothing, as an array of zeros is


def read(file: BinaryIO, choose: Callable[[Sequence[str]], str]) -> np.ndarray:
    """Reads one array.

    Args:
      file: the archive.
      choose: called with the names of all arrays; returns that of the wanted one.

    Raises:
      ValueError, zipfile.BadZipFile, zlib.error: the archive is damaged, its array holds no numbers or has other sizes
        than its header says, or it unpacks to more than RATIO times its bytes and FREE.
    """
    with zipfile.ZipFile(file) as archive:
        arrays = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        info = arrays[choose(list(arrays))]
        if info.file_size > RATIO * info.compress_size + FREE:
            raise ValueError(f"{info.compress_size} bytes unpack to {info.file_size}")
        with archive.open(info) as stream:
            header = read_header(stream)  # type: ignore[arg-type]
            if header.end + header.size != info.file_size:
                raise ValueError(f"{info.file_size} bytes, {header.end + header.size} by the header")
            flat = np.frombuffer(stream.read(), header.dtype)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")
