"""From the files of some recordings to one finished shard: what a worker process of launch.prepare does."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np

from tal_jax.data import annotations, atomic, tfrecord
from tal_jax.data.annotations import Note
from tal_jax.data.record import Record, encode, record_features, storage
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.prepare import feature_files as features
from tal_jax.prepare import stream_tally
from tal_jax.prepare.feature_formats import File
from tal_jax.prepare.stream_tally import Tally

CUT_SNIPPETS, CUT_FRACTION = 2, 0.02  # streams of one recording may differ in length by the larger of these


@dataclass(frozen=True)
class Settings:
    """What holds for every recording of a split. Within a set, only the layout of the files differs between splits."""

    labels: tuple[str, ...]
    streams: tuple[features.Stream, ...]
    stride: float | None  # seconds per snippet of all recordings; None: each has its own
    dtype: str  # of storage, one of dataset.DTYPES, as asked for
    min_seconds: float  # instances of this length or less are left out
    ignored: tuple[str, ...] = ()  # classes that do not count
    harmed: tuple[str, ...] = ()  # streams that are stored as float32, as the asked type would harm them

    @property
    def dtypes(self) -> dict[str, str]:
        """Stream name -> how it is stored."""
        return {s.name: stream_tally.FALLBACK if s.name in self.harmed else self.dtype for s in self.streams}

    def built(self, items: Sequence["Item"]) -> Iterator["Built"]:
        """Reads, checks and converts the recordings of a shard, in their order; errors as of `build`."""
        return (build(item, self) for item in items)


@dataclass(frozen=True)
class Item:
    """One recording and its feature files, in the order of the streams."""

    recording: annotations.Recording
    files: tuple[File, ...]
    sizes: tuple[int, ...]  # bytes that the features in each take, about
    stride: float | None  # seconds per snippet; None: duration / number of snippets
    shapes: tuple[tuple[int, int] | None, ...]  # of the arrays in the files, where their headers tell


@dataclass(frozen=True)
class Group:
    """A split to pack."""

    settings: Settings
    items: tuple[Item, ...]  # sorted by id


@dataclass(frozen=True)
class Shard:
    """One shard to write: the unit of work, and of going on after an interruption."""

    split: str
    path: str
    done_path: str  # a JSON file that says what the shard holds, written after it
    items: tuple[Item, ...]
    settings: Settings

    def digest(self) -> str:
        """Of everything the shard depends on; a feature file that was written again changes it. Raises OSError."""
        digest = hashlib.sha256(repr(self).encode())
        for item in self.items:
            for file in item.files:
                status = os.stat(file.path)
                digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


# A record, notes on what was left out or changed, and what the file of each stream turned out to be.
Built = tuple[Record, list[Note], dict[str, Tally]]


class Stopped(Exception):
    """Another worker has failed."""


def write_shard(shard: Shard, stop: Callable[[], bool]) -> None:
    """Writes one shard, then its `done_path`: {"digest", "records": [..], "notes": [..], "streams": {name: ..}}.

    Args:
      shard: the shard to write, with its recordings.
      stop: called before every recording; where it returns true, nothing more is written.

    Raises:
      InputError: a feature file is missing, damaged, or does not fit.
      OSError: the disk is full.
      Stopped: `stop` said so.
    """
    own = shard.settings
    streams = {stream.name: stream.width for stream in own.streams}
    spec = record_features(own.labels, streams, own.dtypes, bool(own.ignored))
    rows: list[dict[str, Any]] = []
    notes: list[Note] = []
    tallies: list[dict[str, Tally]] = []

    def examples() -> Iterator[bytes]:
        built = own.built(shard.items)
        for _ in shard.items:
            if stop():
                raise Stopped
            record, more, found = next(built)
            notes.extend(more)
            tallies[:] = [stream_tally.merged([*tallies, found])]
            rows.append(
                {
                    "id": record.id,
                    "num_snippets": len(next(iter(record.features.values()))),
                    "duration": record.duration,
                    "stride": record.stride,
                    "labels": record.labels.tolist(),
                    "present": record.present.tolist(),
                    "segment_seconds": (record.segments[:, 1] - record.segments[:, 0]).tolist(),
                }
            )
            data = encode(spec, record)
            rows[-1]["crc32c"] = google_crc32c.value(data)
            yield data

    digest = shard.digest()
    offsets, lengths = tfrecord.write_shard(shard.path, examples())
    for row, offset, length in zip(rows, offsets.tolist(), lengths.tolist(), strict=True):
        row.update(offset=offset, length=length)
    read = {name: tally.to_json() for name, tally in tallies[0].items()}
    done = {"digest": digest, "records": rows, "notes": notes, "streams": read}
    atomic.write(shard.done_path, json.dumps(done).encode())


def read_done(shard: Shard) -> dict[str, Any] | None:
    """Returns what `write_shard` noted, or None where the shard is not finished, not whole, or out of date."""
    try:
        done = own_files.read_object(shard.done_path, "")
        if done["digest"] != shard.digest() or not all("crc32c" in row for row in done["records"]):
            return None
        offsets, lengths = tfrecord.scan(shard.path)
        rows = [(row["offset"], row["length"]) for row in done["records"]]
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return None
    return done if rows == list(zip(offsets.tolist(), lengths.tolist(), strict=True)) else None


def tallies(shard: Shard) -> dict[str, Tally]:
    """What the files of each stream turned out to be, of a finished shard.

    Raises:
      InputError: the shard is not finished, or a file was written again in the meantime.
    """
    done = read_done(shard)
    if done is None:
        raise InputError(f"{shard.path}: a feature file or the shard changed during the run: start again")
    return {name: Tally.from_json(values) for name, values in done["streams"].items()}


def build(item: Item, settings: Settings) -> Built:
    """Reads, checks and converts one recording.

    Returns:
      The record, notes on what was left out or changed ("streams cut", and see `annotations.clean`), and what the file
      of each stream turned out to be.

    Raises:
      InputError: naming the file, the record and the remedy.
    """
    recording = item.recording
    notes: list[Note] = []
    pairs = list(zip(settings.streams, item.files, strict=True))
    opened = [features.opened(stream, recording.id, file) for stream, file in pairs]
    tallies = {
        stream.name: Tally.of(found, recording.id, file, settings.dtype)
        for (stream, file), found in zip(pairs, opened, strict=True)
    }
    arrays = _equal_lengths(item, [found.features for found in opened], notes)
    count = len(arrays[0])
    duration = recording.duration
    if duration is None:
        if item.stride is None:
            raise InputError(
                f"{item.files[0].path}: record {recording.id}: --stride=duration needs its duration: add it to the "
                "annotations, or give --stride in seconds"
            )
        duration = count * item.stride
    stride = duration / count if item.stride is None else item.stride
    instances, more = annotations.clean(recording, duration, settings.min_seconds)
    notes += more
    stored = {name: _store(array, dtype) for (name, dtype), array in zip(settings.dtypes.items(), arrays, strict=True)}
    return record_of(recording, stored, stride, duration, instances, settings.labels), notes, tallies


def record_of(
    recording: annotations.Recording,
    features: dict[str, Any],
    stride: float,
    duration: float,
    instances: Sequence[annotations.Instance],
    labels: Sequence[str],
) -> Record:
    """The record of a recording.

    Args:
      recording: as annotated.
      features: by stream, as they are stored.
      stride: seconds per snippet, or image.
      duration: seconds.
      instances: the segments that are kept.
      labels: the classes of the set.
    """
    index = {label: i for i, label in enumerate(labels)}
    return Record(
        id=recording.id,
        features=features,
        stride=stride,
        duration=duration,
        segments=np.array([(i.start, i.end) for i in instances], np.float64).reshape(-1, 2),
        labels=np.array([index[i.label] for i in instances], np.int32),
        # not of `instances`: a segment that is dropped leaves its class
        present=np.array(sorted(index[label] for label in recording.labels), np.int32),
        ignored=_ignored_segments(recording, duration),
    )


def _ignored_segments(recording: annotations.Recording, duration: float) -> np.ndarray:
    """[I, 2] what of the ignored segments lies within the recording."""
    segments = np.array([(i.start, i.end) for i in recording.ignored], np.float64).reshape(-1, 2).clip(0.0, duration)
    return segments[segments[:, 0] < segments[:, 1]]


def alike(lengths: Sequence[int]) -> bool:
    """Whether streams of these numbers of snippets may be of one recording: they are then cut to the shortest."""
    return max(lengths) - min(lengths) <= max(CUT_SNIPPETS, CUT_FRACTION * max(lengths))


def _equal_lengths(item: Item, arrays: list[np.ndarray], notes: list[Note]) -> list[np.ndarray]:
    lengths = [len(array) for array in arrays]
    shortest, longest = min(lengths), max(lengths)
    if shortest == longest:
        return arrays
    text = f"streams of {', '.join(map(str, lengths))} snippets"
    if not alike(lengths):
        path = item.files[lengths.index(shortest)].path
        raise InputError(f"{path}: record {item.recording.id}: {text}: extract them again with one stride")
    notes.append(Note("streams cut", item.recording.id, f"{text}, cut to {shortest}"))
    return [array[:shortest] for array in arrays]


def _store(array: np.ndarray, dtype: str) -> np.ndarray:
    # Where something does not fit, the tally says so, and all is written again as float32.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array.astype(storage(dtype)))
