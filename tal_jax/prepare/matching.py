"""Which recordings have feature files, and how those files are laid out: decided before the first one is read."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tal_jax.data.annotations import Note, Recording
from tal_jax.errors import InputError
from tal_jax.prepare import feature_files as features
from tal_jax.prepare import feature_formats
from tal_jax.prepare import shards as packing

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
    widths: Mapping[str, int],
    layouts: Mapping[str, str],
) -> tuple[tuple[features.Stream, ...], tuple[packing.Item, ...], list[Note]]:
    """Finds the feature files of all recordings and checks that those of a stream agree.

    Args:
      recordings: the annotated recordings by id.
      sources: the sources of their features.
      damaged: ids of recordings to leave out.
      missing: "error", or "skip" to leave out recordings without features.
      widths: number of channels C by stream name, where it is known.
      layouts: "TC" or "CT" by stream name, where it is known.

    Returns:
      The streams in the order of `sources`, an item for every recording that is left, sorted by id, and notes of the
      kinds "damaged", "missing features" and "layout assumed".

    Raises:
      InputError: a recording without features and missing="error", none left, or see `features.find` and
        `features.agree`.
    """
    notes = [Note("damaged", id, "listed in --damaged") for id in sorted(recordings.keys() & damaged)]
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
            f"{sources.annotations}: no recording is left to prepare: check --{sources.flag} and --damaged"
        )
    notes += lacking
    streams = []
    for name, found in files.items():
        stream, remark = features.agree(name, {id: found[id] for id in kept}, widths.get(name), layouts.get(name))
        streams.append(stream)
        if remark:
            notes.append(Note("layout assumed", name, remark))
    items = []
    for id in kept:
        paths = tuple(found[id] for found in files.values())
        items.append(packing.Item(recordings[id], paths, tuple(map(_size, paths))))
    return tuple(streams), tuple(items), notes


def _size(file: feature_formats.File) -> int:
    whole = os.path.getsize(file.path)
    return whole if file.key is None else min(whole, GROUP_BYTES)
