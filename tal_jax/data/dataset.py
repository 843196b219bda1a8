"""A prepared set on disk: what it holds (`Metadata`), and random access to the records of a split (`Split`).

A set is a folder of TFRecord shards with TFDS metadata, which `tfds.builder_from_directory` opens, plus one
`SPLIT.index.npz` per split, and `seal.json`, see `data.seal`. `dataset_info.json` is written last: without it the set
is not complete.
"""

import contextlib
import functools
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from tal_jax.data import tfrecord
from tal_jax.data.annotations import SUBSETS
from tal_jax.data.images import JPEG
from tal_jax.data.record import Record, decode, import_readers
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.guarded.record_checks import check_metadata, check_record
from tal_jax.guarded.seal import FILE_NAME as SEAL
from tal_jax.guarded.seal import REMEDY, RESTORE, read_seal
from tal_jax.guarded.split_index import EXTRA_BYTES, HEADER_BYTES, check_shards, index_path, read_index
from tal_jax.words import hint

VERSION = 3  # of what is written
UNSEALED = 2  # read as well, with a word; sets of any other version are refused
NAME = "tal_jax"  # the TFDS name of every set: its shards are NAME-SPLIT.tfrecord-00000-of-00001
SPLITS = ("training", "validation", "testing")
CLIPS = "clips"  # one more split: trimmed recordings, whose ids may be those of others
DTYPES = ("float16", "bfloat16", "float32")
# How many records the disk is asked for before they are needed. Of 80 KB, shuffled, from a cold disk, a record takes
# 125 microseconds without, 76 with 4, 63 with 8, 57 with 16.
AHEAD = 16
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Metadata:
    """What a prepared set holds: everything a config derives from the data."""

    labels: tuple[str, ...]  # sorted; the class index is the position
    streams: dict[str, int]  # name -> C, in the order given to launch.prepare
    stride: float | None  # seconds per snippet; None: each recording has its own
    splits: dict[str, int]  # name -> number of recordings; of SPLITS, and CLIPS
    segment_seconds: tuple[float, ...]  # lengths of the training segments at QUANTILES; () where there are none
    recording_seconds: dict[str, tuple[float, ...]]  # split -> durations at QUANTILES
    segments_per_recording: int  # the most in any recording, clips not counted
    dtypes: dict[str, str]  # stream name -> how its features are stored, one of DTYPES; or JPEG: images of clips
    fingerprint: str  # of the arguments and the annotations it was prepared from
    ignored: tuple[str, ...] = ()  # classes of the annotations that are neither learned nor measured
    content: str = ""  # of all records as they are stored; "": a set of before this was noted
    typical_stride: float | None = None  # the median of the training recordings; None: not known, or all were resized
    encoders: dict[str, dict[str, Any]] = field(default_factory=dict)  # stream name -> see `provenance`, if known
    accepted: tuple[str, ...] = ()  # contradictions in its data that were insisted on, by their reasons

    def is_set_of(self, other: "Metadata") -> bool:
        """Whether both are of one set, or of equal ones: contents count where both are known, else fingerprints."""
        if self.content and other.content:
            one, two = ((m.content, m.labels, m.streams, m.dtypes) for m in (self, other))
            return one == two
        return self.fingerprint == other.fingerprint

    @property
    def packed(self) -> bool:
        """Whether it holds images of clips, by launch.pack, to train encoders on."""
        return JPEG in self.dtypes.values()

    def without_segments(self) -> "Metadata":
        """What may be known where only labels are: nothing that comes from a segment."""
        return replace(self, segment_seconds=(), segments_per_recording=0)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Metadata":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        streams = dict(values["streams"])
        # Older sets, and workdirs trained on them, have one type for all streams.
        dtypes = dict(values["dtypes"]) if "dtypes" in values else dict.fromkeys(streams, values["dtype"])
        odd = [dtype for dtype in dtypes.values() if dtype not in (*DTYPES, JPEG)]
        if odd or dtypes.keys() != streams.keys():
            raise ValueError(f"no dtype {odd[0]!r:.20}" if odd else "not one dtype for each stream")
        return cls(
            labels=tuple(values["labels"]),
            streams=streams,
            stride=values["stride"],
            splits=dict(values["splits"]),
            segment_seconds=tuple(values["segment_seconds"]),
            recording_seconds={split: tuple(q) for split, q in values["recording_seconds"].items()},
            segments_per_recording=values["segments_per_recording"],
            dtypes=dtypes,
            fingerprint=values["fingerprint"],
            ignored=tuple(values.get("ignored", ())),
            content=str(values.get("content", "")),
            typical_stride=values.get("typical_stride"),
            encoders={str(name): dict(found) for name, found in dict(values.get("encoders", {})).items()},
            accepted=tuple(values.get("accepted", ())),
        )


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    """JSON values with a checksum of them: a flipped letter in a class would otherwise be another class."""
    return {**values, "crc32c": google_crc32c.value(json.dumps(values, sort_keys=True).encode())}


def _no_set(path: Path) -> InputError:
    """What is there instead of a complete set, and what to do."""
    what = f"{path}: no complete data set"
    if not path.is_dir():
        # Old workdirs keep the path as training was given it.
        state = "but a file" if path.exists() else "there is none" + ("" if path.is_absolute() else f" in {Path.cwd()}")
        return InputError(f"{what}, {state}: check the path, or run launch.prepare with --out={path}")
    kinds = Counter(file.suffix for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if (path / "unfinished").is_dir() or any("tfrecord" in suffix for suffix in kinds):
        return InputError(f"{what}, its preparation has not finished: run launch.prepare with --out={path} again")
    if kinds:
        suffix, count = kinds.most_common(1)[0]
        return InputError(
            f"{what}, but {count} files NAME{suffix}: if they are features, pack them first, with launch.prepare "
            f"--annotations=A.json --features=NAME={path} --stride=SECONDS --out=DATA, and give DATA"
        )
    return InputError(f"{what}, it holds no files: check the path, or run launch.prepare with --out={path}")


def read_metadata(directory: str | os.PathLike) -> Metadata:
    """Reads what a prepared set holds.

    Raises:
      InputError: the folder holds no set, one whose preparation has not finished, or one of another version.
    """
    path = Path(directory)
    if not (path / "dataset_info.json").is_file():
        raise _no_set(path)
    seal = read_seal(path)
    if seal is not None:
        seal.check()
    path /= "metadata.json"
    values = own_files.member(path, own_files.read_object(path, RESTORE), "tal_jax", dict, RESTORE)
    version = values.get("version", 1)  # the first layout did not say
    if version not in (VERSION, UNSEALED):
        raise InputError(
            f"{path}: written by another version of launch.prepare (layout {version!r:.20}, this one reads {VERSION}): "
            f"{REMEDY}"
        )
    if seal is None and version == VERSION:
        raise InputError(f"{path.with_name(SEAL)}: missing: {RESTORE}")
    if seal is None:
        own_files.read_object(path.with_name("dataset_info.json"), RESTORE)  # an empty one is not a complete set's
        _say_unsealed(path.parent)
    # The oldest of the unsealed sets have no checksum.
    if "crc32c" in values and sealed({k: v for k, v in values.items() if k != "crc32c"}) != values:
        raise InputError(f"{path}: damaged, its checksum does not match: {RESTORE}")
    try:
        metadata = Metadata.from_json(values)
        check_metadata(metadata)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{path}: not of a set that launch.prepare wrote ({e!r:.80}): {REMEDY}") from e
    return metadata


@functools.cache
def _say_unsealed(directory: Path) -> None:
    print(
        f"{directory}: prepared by an older version, and not sealed: not every damaged or exchanged file would be "
        "noticed; prepared anew, it is sealed",
        file=sys.stderr,
    )


def split_named(name: str) -> str:
    """A split's own name: "validation" of "val" or "Validation", say, which annotation files write as well."""
    return SUBSETS.get(name.strip().lower(), name)


def open_split(directory: str | os.PathLike, split: str) -> "Split":
    """Opens one split for random access.

    Raises:
      InputError: no complete set, no such split, or a shard that is missing or shorter than its index says.
    """
    return Split(directory, split)


class Split:
    """Random access to the records of one split. Picklable; safe to share between threads.

    Attributes:
      ids: [N] array of str, sorted.
      durations: [N] float64 seconds.
      num_snippets: [N] int64, T of every recording.
      strides: [N] float64 seconds per snippet.
      weak_only: [N] bool, recordings with labels and no segment: to full supervision, they would be all background.
      metadata: of the whole set.
    """

    def __init__(self, directory: str | os.PathLike, split: str):
        split = split_named(split)
        self.directory, self.split = Path(directory), split
        self.metadata = read_metadata(directory)
        if split not in self.metadata.splits:
            raise InputError(f"{directory}: no split {split!r}: {hint(split, self.metadata.splits)}")
        path, seal = index_path(directory, split), read_seal(directory)
        content = own_files.read_bytes(path, RESTORE) if seal is None else seal.read(path.name)
        index = read_index(path, content, self.metadata.splits[split])
        one, evenly = self.metadata.stride, index["durations"] / index["num_snippets"]
        self.strides = index.get("strides", evenly if one is None else np.full(len(evenly), one))
        self.weak_only = index.get("weak_only", np.zeros(len(evenly), bool))
        self.ids, self.durations, self.num_snippets = index["ids"], index["durations"], index["num_snippets"]
        self._shard, self._offset, self._length = index["shards"], index["offsets"], index["lengths"]
        self._crc = index.get("crc32c")
        self._paths = shard_paths(directory, split, int(self._shard.max(initial=-1)) + 1)
        check_shards(path, index, self._paths)
        self._descriptors: dict[int, int] = {}
        self._lock = threading.Lock()
        import_readers(self.metadata.dtypes.values())  # before threads read

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Record:
        """Reads and checks one record.

        Raises:
          IndexError: no record i.
          InputError: the shard is truncated or damaged there.
        """
        i = range(len(self))[i]
        shard, id = int(self._shard[i]), str(self.ids[i])
        path = self._paths[shard]
        crc = None if self._crc is None else int(self._crc[i])
        data = tfrecord.read(self._open(shard), path, int(self._offset[i]), int(self._length[i]), id, crc)
        try:
            record = decode(self.metadata.streams, self.metadata.dtypes, data)
            check_record(record, len(self.metadata.labels))
        except ValueError as e:
            raise InputError(f"{path}: record {id}: {e}: {REMEDY}") from e
        if record.id != id:
            raise InputError(f"{path}: record {id}: the index points to {record.id}: {REMEDY}")
        known = (int(self.num_snippets[i]), float(self.durations[i]))
        if (len(next(iter(record.features.values()))), record.duration) != known:
            raise InputError(f"{path}: record {id}: not the one of its index: {REMEDY}")
        return record

    def read_ahead(self, i: int) -> None:
        """Lets the system begin to read record i from the disk; errors are for the one who reads it."""
        if not hasattr(os, "posix_fadvise"):
            return
        shard = int(self._shard[i])
        start, size = int(self._offset[i]) - HEADER_BYTES, int(self._length[i]) + EXTRA_BYTES
        with contextlib.suppress(OSError, InputError):
            os.posix_fadvise(self._open(shard), start, size, os.POSIX_FADV_WILLNEED)

    def records(self, index: Iterable[int]) -> Iterator[Record]:
        """The records at these positions, in that order, with the disk at work on those that come next."""
        positions = [int(i) for i in index]
        for n, i in enumerate(positions):
            if n + AHEAD < len(positions):
                self.read_ahead(positions[n + AHEAD])
            yield self[i]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_descriptors", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _descriptors={}, _lock=threading.Lock())
        import_readers(self.metadata.dtypes.values())  # before threads read

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_descriptors", {}).values():
            os.close(descriptor)

    def _open(self, shard: int) -> int:
        with self._lock:
            if shard not in self._descriptors:
                try:
                    self._descriptors[shard] = os.open(self._paths[shard], os.O_RDONLY | os.O_CLOEXEC)
                except OSError as e:
                    raise InputError(f"{self._paths[shard]}: {e.strerror}: {REMEDY}") from e
            return self._descriptors[shard]


def shard_paths(directory: str | os.PathLike, split: str, count: int) -> list[Path]:
    """The paths of the shards of a split, under TFDS's default names."""
    return [Path(directory) / f"{NAME}-{split}.tfrecord-{i:05d}-of-{count:05d}" for i in range(count)]
