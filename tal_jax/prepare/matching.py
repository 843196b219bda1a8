"""Which recordings have feature files, and how those files are laid out: decided before the first one is read."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tal_jax.checks.timing import Timed, lengths
from tal_jax.data.annotations import Note, Recording
from tal_jax.errors import InputError
from tal_jax.prepare import feature_files as features
from tal_jax.prepare import feature_formats
from tal_jax.prepare import shards as packing
from tal_jax.prepare.strides import Strides

MUCH, MOST = 0.1, 0.9  # of a recording's length, of the recordings: what a layout has to fit to be told by durations
GROUP_BYTES = 4 << 20  # taken to be the most that one group of an HDF5 file holds


@dataclass(frozen=True)
class Sources:
    """Where features lie, and whose they are."""

    annotations: str  # the file that names the recordings
    flag: str  # the argument that named the folders
    folders: Mapping[str, str]  # stream name -> folder, or one HDF5 file


def match(
    recordings: Mapping[str, Recording],
    sources: Sources,
    *,
    damaged: Collection[str],
    missing: str,
    strides: Strides,
    widths: Mapping[str, int],
    layouts: Mapping[str, str],
) -> tuple[tuple[features.Stream, ...], tuple[packing.Item, ...], list[Note]]:
    """Finds the feature files of all recordings and checks that those of a stream agree.

    Args:
      recordings: the annotated recordings by id.
      sources: the sources of their features.
      damaged: ids of recordings to leave out.
      missing: "error", or "skip" to leave out recordings without features.
      strides: what the user says of the recordings' strides.
      widths: number of channels C by stream name, where it is known.
      layouts: "TC" or "CT" by stream name, where it is known.

    Returns:
      The streams in the order of `sources`, an item for every recording that is left, sorted by id, and notes of the
      kinds "damaged", "missing features" and "layout assumed".

    Raises:
      InputError: a recording without features and missing="error", none left, one without a stride, or see
        `features.find` and `features.agree`.
    """
    notes = [Note("damaged", id, "listed in --blocked") for id in sorted(recordings.keys() & damaged)]
    wanted = {id: recordings[id] for id in sorted(recordings.keys() - damaged)}
    files = {name: features.find(name, folder, wanted, sources.flag) for name, folder in sources.folders.items()}
    lacking = []
    for id in wanted:
        without = next((name for name in files if id not in files[name]), None)
        if without is not None:
            text = f"no {id}.npy or other feature file in {sources.folders[without]}"
            lacking.append(Note("missing features", id, text))
    if lacking and missing == "error":
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        raise InputError(
            f"{sources.annotations}: record {lacking[0].id}: missing feature file, {lacking[0].text}{more}: add it, or "
            "leave such recordings out with --missing=skip"
        )
    kept = sorted(wanted.keys() - {note.id for note in lacking})
    if not kept:
        raise InputError(
            f"{sources.annotations}: no recording is left to prepare: check --{sources.flag} and --blocked"
        )
    notes += lacking
    seconds = strides.of(sources.annotations, {id: recordings[id] for id in kept})
    shapes = {name: {id: _shape(id, found[id]) for id in kept} for name, found in files.items()}
    streams = []
    for name, found in files.items():
        stream, remark = features.agree(name, {id: found[id] for id in kept}, widths.get(name), layouts.get(name))
        better = _layout_by_durations(shapes[name], recordings, seconds)
        if name not in layouts and stream.layout is not None and better not in (None, stream.layout):
            stream, _ = features.agree(name, {id: found[id] for id in kept}, widths.get(name), better)
            remark = f"read as {better}, as the durations say, not {'TC' if better == 'CT' else 'CT'} as the widths do"
        streams.append(stream)
        if remark:
            notes.append(Note("layout assumed", name, remark))
    items = []
    for id in kept:
        paths = tuple(found[id] for found in files.values())
        own = tuple(shapes[name][id] for name in files)
        items.append(packing.Item(recordings[id], paths, tuple(map(_size, paths)), seconds[id], own))
    return tuple(streams), tuple(items), notes


def timed(streams: Sequence[features.Stream], items: Sequence[packing.Item]) -> list[Timed]:
    """What the headers of the files say of the recordings' lengths: of several streams that fit, the shortest."""
    result = []
    for item in items:
        counts = [_snippets(s, shape) for s, shape in zip(streams, item.shapes, strict=True) if shape is not None]
        result.append(Timed(item.recording, min(counts) if counts and packing.alike(counts) else None, item.stride))
    return result


def transposed(streams: Sequence[features.Stream], items: Sequence[packing.Item]) -> dict[str, list[Timed]]:
    """By stream, what the headers would say if its files had the other layout."""
    return {
        stream.name: [
            Timed(item.recording, sum(shape) - _snippets(stream, shape), item.stride)
            for item in items
            for shape in (item.shapes[i],)
            if shape is not None
        ]
        for i, stream in enumerate(streams)
    }


def _snippets(stream: features.Stream, shape: tuple[int, int]) -> int:
    layout = stream.layout or ("TC" if shape[1] == stream.width else "CT")
    return shape[layout.index("T")]


def _shape(id: str, file: feature_formats.File) -> tuple[int, int] | None:
    return feature_formats.npy_shape(id, file) if file.path.endswith(".npy") else None


def _layout_by_durations(
    shapes: Mapping[str, tuple[int, int] | None],
    recordings: Mapping[str, Recording],
    strides: Mapping[str, float | None],
) -> str | None:
    """The layout that nearly all durations fit, if they do not fit the other one."""
    fits = []
    for axis in (0, 1):
        read = [Timed(recordings[id], shape[axis], strides[id]) for id, shape in shapes.items() if shape is not None]
        found = lengths(read)
        fits.append(np.mean(np.abs(found.counts - found.expected) <= MUCH * found.expected) if len(found.timed) else 0)
    if fits[0] >= MOST and fits[1] <= 1 - MOST:
        return "TC"
    return "CT" if fits[1] >= MOST and fits[0] <= 1 - MOST else None


def _size(file: feature_formats.File) -> int:
    whole = os.path.getsize(file.path)
    return whole if file.key is None else min(whole, GROUP_BYTES)
