"""TFRecord files without TensorFlow: u64 length, masked CRC32C of it, data, masked CRC32C of the data."""

import os
import struct
from collections.abc import Iterable

import google_crc32c
import numpy as np

from tal_jax.data import atomic
from tal_jax.errors import InputError
from tal_jax.guarded.seal import REMEDY
from tal_jax.guarded.split_index import EXTRA_BYTES, FOOTER_BYTES, HEADER_BYTES


def framed(data: bytes) -> bytes:
    """A record as it stands in a file: the data with its length and checksums."""
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def write_shard(path: str | os.PathLike, records: Iterable[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Writes one shard under a temporary name and renames it when it is complete.

    Returns:
      (offsets, lengths), each [N] int64: where the data of every record starts, and how long it is.

    Raises:
      OSError: with `filename` set, see `atomic.writing`.
    """
    offsets: list[int] = []
    lengths: list[int] = []
    with atomic.writing(path) as temporary, open(temporary, "wb") as file:
        position = 0
        for data in records:
            file.write(framed(data))
            offsets.append(position + HEADER_BYTES)
            lengths.append(len(data))
            position += HEADER_BYTES + len(data) + FOOTER_BYTES
    return np.array(offsets, np.int64), np.array(lengths, np.int64)


def read(fd: int, path: str | os.PathLike, offset: int, length: int, id: str, crc: int | None = None) -> bytes:
    """Reads the record whose data starts at `offset`; safe to call from several threads at once.

    Args:
      fd: file descriptor of the open shard.
      path: the shard's path, for errors.
      offset: where the data starts, in bytes.
      length: how long the data is, in bytes.
      id: the record's id, for errors.
      crc: the CRC32C of the data as the set was sealed with it; None where it is not known.

    Raises:
      InputError: the shard ends early, or a checksum does not match.
    """
    start = offset - HEADER_BYTES
    size = length + EXTRA_BYTES
    block = os.pread(fd, size, start)
    while 0 < len(block) < size:  # one pread returns at most 2 GiB
        more = os.pread(fd, size - len(block), start + len(block))
        if not more:
            break
        block += more
    if len(block) < size:
        raise InputError(f"{path}: record {id}: the shard is truncated: {REMEDY}")
    view = memoryview(block)
    data = block[HEADER_BYTES:-FOOTER_BYTES]
    found = google_crc32c.value(data)
    intact = (
        struct.unpack("<Q", view[:8])[0] == length
        and view[8:HEADER_BYTES] == _masked(google_crc32c.value(block[:8]))
        and view[-FOOTER_BYTES:] == _masked(found)
    )
    if not intact:
        raise InputError(f"{path}: record {id}: the checksum (CRC32C) does not match, the shard is damaged: {REMEDY}")
    if crc is not None and crc != found:
        raise InputError(
            f"{path}: record {id}: not the record that the set was sealed with, the shard is of another set: restore "
            f"it, or {REMEDY}"
        )
    return data


def scan(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Finds the records of a shard by its length fields alone, without reading the data.

    Returns:
      (offsets, lengths), each [N] int64.

    Raises:
      InputError: the shard is missing, ends early, or a length field is damaged.
    """
    offsets: list[int] = []
    lengths: list[int] = []
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            position = 0
            while position < size:
                header = os.pread(file.fileno(), HEADER_BYTES, position)
                if len(header) < HEADER_BYTES or header[8:] != _masked_crc(header[:8]):
                    raise InputError(f"{path}: record {len(lengths)}: its length field is damaged: {REMEDY}")
                (length,) = struct.unpack("<Q", header[:8])
                offsets.append(position + HEADER_BYTES)
                lengths.append(length)
                position += HEADER_BYTES + length + FOOTER_BYTES
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): {REMEDY}") from e
    if position != size:
        raise InputError(f"{path}: record {len(lengths) - 1}: the shard is truncated: {REMEDY}")
    return np.array(offsets, np.int64), np.array(lengths, np.int64)


def _masked_crc(data: bytes) -> bytes:
    return _masked(google_crc32c.value(data))


def _masked(crc: int) -> bytes:
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
