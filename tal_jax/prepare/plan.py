"""The plan of launch.prepare: everything that is checked and decided before the first feature is read."""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tal_jax.checks import ignored, supervision, timing, units
from tal_jax.checks.doubts import ENCODER, Doubt, check_accepted, settle
from tal_jax.data import annotations, dataset
from tal_jax.data.annotations import Note
from tal_jax.data.dataset import VERSION
from tal_jax.errors import InputError
from tal_jax.prepare import clips, damaged, encoded, matching, proposal_files
from tal_jax.prepare import feature_files as features
from tal_jax.prepare import shards as packing
from tal_jax.words import hint, nearest, shown

MIN_SHARDS, MIN_SHARD_BYTES = 16, 4 << 20  # enough shards to share work out, none tiny


@dataclass(frozen=True)
class Options:
    """The arguments of launch.prepare, as given."""

    annotations: str
    features: Mapping[str, str]  # stream name -> folder, or one HDF5 file
    stride: str | None  # see `encoded.strides`
    out: str
    proposals: str | None = None  # folder of CSV files
    proposal_units: str | None = None  # "seconds" or "fractions"; None: seconds, unless they cannot be
    dtype: str = "float16"
    widths: Mapping[str, str] = field(default_factory=dict)  # stream name -> C
    layouts: Mapping[str, str] = field(default_factory=dict)  # stream name -> "TC" or "CT"
    missing: str = "error"  # or "skip"
    min_seconds: float = 0.0
    ignore_labels: Sequence[str] = ()  # classes that are neither learned nor measured
    damaged: str | None = None  # see `damaged.find`
    clips: str | None = None  # annotations of trimmed clips
    clip_features: Mapping[str, str] = field(default_factory=dict)  # stream name -> folder, or one HDF5 file
    workers: int | None = None  # processes; None: all cores
    shard_mb: int = 256
    images_per_snippet: str | None = None  # in place of `stride`
    accept: Sequence[str] = ()  # of `doubts.REASONS`


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first feature is read."""

    splits: Mapping[str, packing.Group]  # splits without recordings left out; clips last
    proposals: Mapping[str, str]  # id -> CSV file
    fractions: bool  # whether their times are fractions of the recordings
    notes: Sequence[Note]
    fingerprint: str
    shard_bytes: int
    annotations: str  # the file
    stride_flag: str  # how the strides were said
    doubts: Sequence[Doubt]  # that the user insists on
    accept: Sequence[str]  # what else would be
    facts: Sequence[str]  # lines on what was understood
    encoders: Mapping[str, Mapping[str, Any]]  # stream name -> which encoder its features are of, where it is known


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
    known = encoded.read(options.features, "features")
    known_clips = encoded.read(options.clip_features, "clip_features")
    stride = encoded.strides(options.features, [known, known_clips], options.stride, options.images_per_snippet)
    check_accepted(options.accept)
    if not (math.isfinite(options.min_seconds) and options.min_seconds >= 0):
        raise InputError(f"--min_seconds={options.min_seconds}: expected seconds, 0 or more")
    widths = {name: _width(name, value) for name, value in options.widths.items()}
    for flag, values in (("width", options.widths), ("layout", options.layouts)):
        for name in set(values) - set(options.features):
            raise InputError(f"--{flag}={name}=..: no such stream: {hint(name, options.features, '--features has')}")
    for name, value in options.layouts.items():
        if value not in features.LAYOUTS:
            raise InputError(f"--layout={name}={value}: expected TC (snippets first) or CT (channels first)")
    _check_clip_flags(options)
    recordings = annotations.read(options.annotations, keep_untimed=True)
    recordings, ignored_notes = ignored.leave_out(recordings, options.ignore_labels, options.annotations)
    doubts = supervision.doubts(options.annotations, recordings)
    settle(doubts, options.accept)  # before anything else of the set is looked at
    labels, untrained = classes_of(options.annotations, recordings)
    found: dict[str, annotations.Recording] = {}
    unfit: list[Note] = []
    if options.clips is not None:
        untimed = "untimed" in options.accept
        found, unfit = clips.read(options.clips, labels, options.ignore_labels, keep_untimed=untimed)
    listed, unknown = damaged.find(options.damaged, [recordings, {*found, *(note.id for note in unfit)}])
    streams, items, notes = matching.match(
        recordings,
        matching.Sources(options.annotations, "features", options.features),
        damaged=listed,
        missing=options.missing,
        strides=stride,
        widths=widths,
        layouts=options.layouts,
    )
    notes += [*ignored_notes, *unknown, *untrained]
    lengths = matching.timed(streams, items)
    turned = matching.transposed(streams, items)
    doubts += encoded.doubts(options.features, known, streams, items)
    doubts += timing.contradicted_lengths(options.annotations, stride.flag, lengths, turned)
    doubts += timing.misplaced_segments(options.annotations, lengths)
    settle(doubts, options.accept)
    if ENCODER not in options.accept:
        items = encoded.with_sums(known, streams, items)
    notes += supervision.notes(item.recording for item in items)
    notes += supervision.near_equal(labels)
    notes += ignored.remarks(labels)
    ends = {t.recording.id: t.end for t in lengths}
    csv, lacking = proposal_files.find(options.proposals, options.proposal_units, ends)
    notes += lacking
    settings = packing.Settings(
        labels, streams, stride.one, options.dtype, options.min_seconds, tuple(sorted(options.ignore_labels))
    )
    splits = {split: tuple(i for i in items if i.recording.subset == split) for split in dataset.SPLITS}
    groups = {split: packing.Group(settings, members) for split, members in splits.items() if members}
    if options.clips is not None:
        streams, items, more = matching.match(
            found,
            matching.Sources(
                options.clips, "clip_features", {name: options.clip_features[name] for name in options.features}
            ),
            damaged=listed,
            missing=options.missing,
            strides=stride,
            widths={stream.name: stream.width for stream in streams},
            layouts=options.layouts,
        )
        more_doubts = encoded.unlike(known, known_clips) + encoded.doubts(
            options.clip_features, known_clips, streams, items
        )
        settle(more_doubts, options.accept)
        if ENCODER not in options.accept:
            items = encoded.with_sums(known_clips, streams, items)
        doubts += more_doubts
        groups[dataset.CLIPS] = packing.Group(replace(settings, streams=streams), items)
        notes += [*unfit, *(note.of_clip() for note in more)]
    encoders = {name: found.identity for name, found in known.items()}
    total = sum(sum(item.sizes) for group in groups.values() for item in group.items)
    return Plan(
        splits=groups,
        proposals=csv,
        fractions=options.proposal_units == units.FRACTIONS,
        notes=notes,
        fingerprint=_fingerprint(options, groups, csv, encoders),
        shard_bytes=min(options.shard_mb << 20, max(total // MIN_SHARDS, MIN_SHARD_BYTES)),
        annotations=options.annotations,
        stride_flag=stride.flag,
        doubts=doubts,
        accept=options.accept,
        facts=[*stride.unused([i.recording for group in groups.values() for i in group.items]), *encoded.lines(known)],
        encoders=encoders,
    )


def _check_clip_flags(options: Options) -> None:
    names = ", ".join(options.features)
    if options.clips is None:
        if options.clip_features:
            name, folder = next(iter(options.clip_features.items()))
            raise InputError(f"--clip_features={name}={folder}: of which clips? Give their annotations, --clips=C.json")
        return
    if options.clip_features.keys() != options.features.keys():
        given = ", ".join(options.clip_features) or "none"
        raise InputError(
            f"--clips={options.clips}: clips have the streams of the recordings, {names}, not {given}: give one "
            "--clip_features=NAME=DIR for each"
        )


def _width(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(f"--width={name}={text}: expected a number of channels")
    return int(text)


def classes_of(path: str, recordings: Mapping[str, annotations.Recording]) -> tuple[tuple[str, ...], list[Note]]:
    """The labels of all splits as annotated, so that leaving recordings out never renumbers the classes.

    Returns:
      The classes, sorted, and notes of the kind "untrained" on those that the split to learn from lacks: data sets have
      such classes, and an evaluation counts them, but it may be a typing error. Where there is no training split (one's
      own recordings to detect in; THUMOS, whose training set is called validation), the first split there is counts.

    Raises:
      InputError: there are no recordings.
    """
    by_split: dict[str, Counter[str]] = {}
    for recording in recordings.values():
        by_split.setdefault(recording.subset, Counter()).update(recording.labels)
    first = next((split for split in dataset.SPLITS if split in by_split), None)
    if first is None:
        raise InputError(f"{path}: no recordings in the database: add some")
    learned = by_split[first]
    classes = sorted(set().union(*by_split.values()))
    notes = []
    for label in classes:
        if label not in learned:
            where = ", ".join(
                f"{found[label]} recordings of {split}" for split, found in by_split.items() if label in found
            )
            notes.append(Note("untrained", shown(label), f"in {where}: {nearest(label, learned) or 'AP 0 is likely'}"))
    return tuple(classes), notes


def _fingerprint(
    options: Options, groups: Mapping[str, packing.Group], csv: Mapping[str, str], encoders: Mapping[str, Any]
) -> str:
    values: dict[str, Any] = {
        "version": VERSION,
        "annotations": _digest(options.annotations),
        "clips": None if options.clips is None else _digest(options.clips),
        "settings": {split: repr(group.settings) for split, group in groups.items()},
        "shard_mb": options.shard_mb,
        # names and sizes only: a copy of the files elsewhere is the same data
        "files": {
            split: [[i.recording.id, [[Path(f.path).name, f.key] for f in i.files], i.sizes] for i in group.items]
            for split, group in groups.items()
        },
        "strides": {
            split: {i.recording.id: i.stride for i in group.items if i.stride != group.settings.stride}
            for split, group in groups.items()
        },
        **({"encoders": encoders} if encoders else {}),
        **({"units": options.proposal_units} if options.proposal_units == units.FRACTIONS else {}),
        "proposals": {id: [Path(path).name, os.path.getsize(path)] for id, path in sorted(csv.items())},
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
