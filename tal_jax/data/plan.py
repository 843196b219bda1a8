"""The plan of launch.prepare: everything that is checked and decided before the first feature is read."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tal_jax.data import annotations, damaged, dataset, feature_formats, features, packing
from tal_jax.data.annotations import Note
from tal_jax.errors import InputError

VERSION = 1  # of what is written: part of the fingerprint
MIN_SHARDS, MIN_SHARD_BYTES = 16, 4 << 20  # enough shards to share work out, none tiny


@dataclass(frozen=True)
class Options:
    """The arguments of launch.prepare, as given."""

    annotations: str
    features: Mapping[str, str]  # stream name -> folder, or one HDF5 file
    stride: str  # seconds per snippet, or "resized"
    out: str
    proposals: str | None = None  # folder of CSV files
    dtype: str = "float16"
    widths: Mapping[str, str] = field(default_factory=dict)  # stream name -> C
    layouts: Mapping[str, str] = field(default_factory=dict)  # stream name -> "TC" or "CT"
    missing: str = "error"  # or "skip"
    min_seconds: float = 0.0
    damaged: str | None = None  # see `damaged.read`
    workers: int | None = None  # processes; None: all cores
    shard_mb: int = 256


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first feature is read."""

    settings: packing.Settings
    splits: Mapping[str, Sequence[packing.Item]]  # sorted by id, splits without recordings left out
    proposals: Mapping[str, str]  # id -> CSV file
    notes: Sequence[Note]
    fingerprint: str
    shard_bytes: int


def pairs(flag: str, values: Sequence[str]) -> dict[str, str]:
    """Parses repeated NAME=VALUE arguments.

    Raises:
      InputError: another form, or a name that comes twice.
    """
    result: dict[str, str] = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not (equals and rest and name.isidentifier()):
            raise InputError(f"--{flag}={value}: expected NAME=VALUE, where NAME is a word")
        if name in result:
            raise InputError(f"--{flag}={value}: {name} comes twice: give every stream another name")
        result[name] = rest
    return result


def make_plan(options: Options) -> Plan:
    """Checks all arguments, the annotations, and that the feature files are there and agree on their widths.

    Raises:
      InputError: naming the file, the record and the remedy.
    """
    stride = _stride(options.stride)
    if not (math.isfinite(options.min_seconds) and options.min_seconds >= 0):
        raise InputError(f"--min_seconds={options.min_seconds}: expected seconds, 0 or more")
    widths = {name: _width(name, value) for name, value in options.widths.items()}
    for flag, values in (("width", options.widths), ("layout", options.layouts)):
        for name in set(values) - set(options.features):
            raise InputError(f"--{flag}={name}=..: no such stream: --features has {', '.join(options.features)}")
    for name, value in options.layouts.items():
        if value not in features.LAYOUTS:
            raise InputError(f"--layout={name}={value}: expected TC (snippets first) or CT (channels first)")
    recordings = annotations.read(options.annotations)
    labels = _labels(options.annotations, recordings)
    notes: list[Note] = []
    if options.damaged is not None:
        listed = damaged.read(options.damaged)
        notes += [Note("damaged", id, f"listed in {options.damaged}") for id in sorted(listed & recordings.keys())]
        recordings = {id: recording for id, recording in recordings.items() if id not in listed}
    files = {name: features.find(name, source, recordings) for name, source in options.features.items()}
    recordings = _with_features(options, recordings, files, notes)
    streams = []
    for name, found in files.items():
        stream, remark = features.agree(
            name, {id: found[id] for id in recordings}, widths.get(name), options.layouts.get(name)
        )
        streams.append(stream)
        if remark:
            notes.append(Note("layout assumed", name, remark))
    settings = packing.Settings(labels, tuple(streams), stride, options.dtype, options.min_seconds)
    items = [packing.Item(recordings[id], tuple(files[name][id] for name in files)) for id in sorted(recordings)]
    splits = {split: [item for item in items if item.recording.subset == split] for split in dataset.SPLITS}
    csv = _proposal_files(options, recordings, notes)
    sizes = {item.recording.id: [size(file) for file in item.files] for item in items}
    limit = options.shard_mb << 20
    total = sum(map(sum, sizes.values()))
    return Plan(
        settings=settings,
        splits={split: group for split, group in splits.items() if group},
        proposals=csv,
        notes=notes,
        fingerprint=_fingerprint(options, settings, items, sizes, csv),
        shard_bytes=min(limit, max(total // MIN_SHARDS, MIN_SHARD_BYTES)),
    )


def _stride(text: str) -> float | None:
    if text == "resized":
        return None
    try:
        stride = float(text)
    except ValueError:
        stride = math.nan
    if not (math.isfinite(stride) and stride > 0):
        raise InputError(f"--stride={text}: expected seconds per snippet, or 'resized'")
    return stride


def _width(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(f"--width={name}={text}: expected a number of channels")
    return int(text)


def _labels(path: str, recordings: Mapping[str, annotations.Recording]) -> tuple[str, ...]:
    """The labels of the training split as annotated, so that leaving recordings out never renumbers the classes.

    Where there is no training split (one's own recordings to detect in; THUMOS, whose training set is called
    validation), the first split there is takes its place.
    """
    by_split: dict[str, set[str]] = {}
    for recording in recordings.values():
        by_split.setdefault(recording.subset, set()).update(i.label for i in recording.instances)
    first = next((split for split in dataset.SPLITS if split in by_split), None)
    if first is None:
        raise InputError(f"{path}: no recordings in the database: add some")
    for recording in recordings.values():
        for instance in recording.instances:
            if instance.label not in by_split[first]:
                raise InputError(
                    f"{path}: record {recording.id}: unknown label {instance.label!r} in {recording.subset}: "
                    f"{first} has no such class: correct the label, or add {first} recordings of it"
                )
    return tuple(sorted(by_split[first]))


def _with_features(
    options: Options,
    recordings: Mapping[str, annotations.Recording],
    files: Mapping[str, Mapping[str, feature_formats.File]],
    notes: list[Note],
) -> dict[str, annotations.Recording]:
    kept = {}
    lacking = []
    for id in sorted(recordings):
        stream = next((name for name in files if id not in files[name]), None)
        if stream is None:
            kept[id] = recordings[id]
        else:
            lacking.append(
                Note("missing features", id, f"no {id}.npy or other feature file in {options.features[stream]}")
            )
    if lacking and options.missing == "error":
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        raise InputError(
            f"{options.annotations}: record {lacking[0].id}: missing feature file, {lacking[0].text}{more}: add it, or "
            "leave such recordings out with --missing=skip"
        )
    if not kept:
        raise InputError(f"{options.annotations}: no recording is left to prepare: check --features and --damaged")
    notes += lacking
    return kept


def _proposal_files(
    options: Options, recordings: Mapping[str, annotations.Recording], notes: list[Note]
) -> dict[str, str]:
    if options.proposals is None:
        return {}
    found = features.find_files(options.proposals, recordings, (".csv",), "--proposals")
    if not found:
        raise InputError(f"--proposals={options.proposals}: no file ID.csv for any recording: check the folder")
    for id in sorted(recordings.keys() - found.keys()):
        notes.append(Note("missing proposals", id, f"no {id}.csv in {options.proposals}"))
    return found


def size(file: feature_formats.File) -> int:
    """Bytes that a recording's features take, about: the size of one group is not worth opening an HDF5 file."""
    whole = os.path.getsize(file.path)
    return whole if file.key is None else min(whole, MIN_SHARD_BYTES)


def _fingerprint(
    options: Options,
    settings: packing.Settings,
    items: Sequence[packing.Item],
    sizes: Mapping[str, Sequence[int]],
    csv: Mapping[str, str],
) -> str:
    values: dict[str, Any] = {
        "version": VERSION,
        "annotations": hashlib.sha256(Path(options.annotations).read_bytes()).hexdigest(),
        "settings": repr(settings),
        "shard_mb": options.shard_mb,
        # names and sizes only: a copy of the files elsewhere is the same data
        "files": [
            [item.recording.id, [[Path(f.path).name, f.key] for f in item.files], list(sizes[item.recording.id])]
            for item in items
        ],
        "proposals": {id: [Path(path).name, os.path.getsize(path)] for id, path in sorted(csv.items())},
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
