"""The index of a split: where the record of every recording lies, and what is known of it without reading it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.guarded.seal import REMEDY

HEADER_BYTES, FOOTER_BYTES = 12, 4  # of a record in a shard, see `data.tfrecord`
EXTRA_BYTES = HEADER_BYTES + FOOTER_BYTES
# Arrays [N]: the shard, where in it the data of the record starts and how long it is in bytes, and what is known of it.
# Older sets have no CRC32C of the data, no strides in seconds, and do not tell recordings without a segment of their
# labels.
KINDS = {
    "ids": "U",
    "shards": "i",
    "offsets": "i",
    "lengths": "i",
    "num_snippets": "i",
    "durations": "f",
    "crc32c": "i",
    "strides": "f",
    "weak_only": "b",
}
OPTIONAL = ("crc32c", "strides", "weak_only")


def index_path(directory: str | os.PathLike, split: str) -> Path:
    """The path of the index of a split."""
    return Path(directory) / f"{split}.index.npz"


def read_index(path: str | os.PathLike, content: bytes, count: int) -> dict[str, np.ndarray]:
    """Reads an index: arrays [N] by the names of KINDS; those of OPTIONAL may be missing in older sets.

    Args:
      path: the file, for messages.
      content: its bytes.
      count: N, as the set's metadata have it.

    Raises:
      InputError: it is not an index, or not one that can be.
    """
    names = [name for name in KINDS if name not in OPTIONAL or f"{name}.npy".encode() in content]
    index = own_files.as_arrays(path, content, names, REMEDY)
    for name in names:
        if index[name].dtype.kind != KINDS[name] or index[name].shape != index["ids"].shape or index[name].ndim != 1:
            raise _damaged(path, f"{name} has an unexpected type or shape")
    if len(index["ids"]) != count:
        raise _damaged(path, f"it has {len(index['ids'])} recordings, the set's metadata say {count}")
    wrong = {
        "ids": np.concatenate([[False], index["ids"][1:] <= index["ids"][:-1]]),  # sorted, each once
        "shards": np.concatenate([index["shards"][:1] != 0, ~np.isin(np.diff(index["shards"]), (0, 1))]),
        "offsets": index["offsets"] < HEADER_BYTES,
        "lengths": index["lengths"] < 0,
        "num_snippets": index["num_snippets"] < 1,
    }
    for name in ("durations", "strides"):
        if name in index:
            wrong[name] = ~(np.isfinite(index[name]) & (index[name] > 0))
    for name, rows in wrong.items():
        if rows.any():
            i = int(np.argmax(rows))
            raise _damaged(path, f"{name} of record {index['ids'][i]} cannot be {index[name][i]}")
    return index


def check_shards(path: str | os.PathLike, index: Mapping[str, np.ndarray], shards: Sequence[Path]) -> None:
    """Compares an index with the sizes of its shards: their records lie one behind the other, from start to end.

    Args:
      path: the index, for messages.
      index: what `read_index` returned.
      shards: the paths of the split's shards.

    Raises:
      InputError: a shard is missing, truncated or too long, or a record lies where none can be.
    """
    bounds = np.searchsorted(index["shards"], np.arange(len(shards) + 1))
    for shard, file in enumerate(shards):
        rows = slice(bounds[shard], bounds[shard + 1])
        ids, offsets, lengths = (index[name][rows] for name in ("ids", "offsets", "lengths"))
        try:
            size = file.stat().st_size
        except OSError as e:
            raise InputError(f"{file}: {e.strerror}: {REMEDY}") from e
        ends = np.cumsum(np.minimum(lengths, size) + EXTRA_BYTES)  # a longer one is behind the end in any case
        if (ends > size).any():
            lost = ids[np.argmax(ends > size)]
            raise InputError(f"{file}: record {lost}: the shard is truncated: {REMEDY}")
        if (offsets != ends - lengths - FOOTER_BYTES).any():
            raise _damaged(path, f"the offsets of {file.name} are not those of its records")
        if ends[-1] != size:
            raise InputError(f"{file}: {size - ends[-1]} bytes longer than its records: {REMEDY}")


def _damaged(path: str | os.PathLike, what: str) -> InputError:
    return InputError(f"{path}: damaged, {what}: {REMEDY}")
