"""The last step of launch.prepare: indexes, summary and metadata of a set whose shards are all written."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.data import atomic, dataset
from tal_jax.data.annotations import Note
from tal_jax.data.proposals import FILE_NAME as PROPOSALS
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.guarded.seal import FILE_NAME as SEAL
from tal_jax.guarded.seal import RESTORE, write_seal
from tal_jax.guarded.split_index import index_path
from tal_jax.prepare import shards as packing
from tal_jax.prepare.summary import SplitSummary, Summary

SUMMARY = "summary.json"


def finish(
    out: Path,
    unfinished: Path,
    shards: Sequence[packing.Shard],
    notes: Sequence[Note],
    fingerprint: str,
) -> Summary:
    """Writes `SPLIT.index.npz`, `summary.json`, TFDS's metadata files, the seal, and `dataset_info.json` last of all.

    Args:
      out: the folder of the set.
      unfinished: a folder inside it for what is not complete yet.
      shards: all shards, finished, by split and number.
      notes: the notes of the plan; those of the shards are added.
      fingerprint: the fingerprint of what the set is made from.

    Raises:
      InputError: a shard has disappeared in the meantime.
      OSError: the disk is full.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    all_notes = list(notes)
    for shard in shards:
        done = packing.read_done(shard)
        if done is None:
            raise InputError(f"{shard.path}: a feature file or the shard changed during the run: start again")
        group = rows.setdefault(shard.split, [])
        number = group[-1]["shard"] + 1 if group else 0
        group += [{**row, "shard": number} for row in done["records"]]
        found = [Note(*note) for note in done["notes"]]
        all_notes += [note.of_clip() for note in found] if shard.split == dataset.CLIPS else found
    for split, records in rows.items():
        _write_index(index_path(out, split), records)
    summary = Summary(
        {
            split: SplitSummary(
                len(records),
                sum(len(r["segment_seconds"]) for r in records),
                sum(r["duration"] for r in records) / 3600,
            )
            for split, records in rows.items()
        },
        all_notes,
    )
    atomic.write(out / SUMMARY, json.dumps(summary.to_json(), indent=1).encode())
    # Of the recordings: their splits come first.
    metadata = _metadata(rows, shards[0].settings, fingerprint)
    folder = unfinished / "tfds"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _write_tfds(folder, metadata, rows)
    others = [index_path(out, split) for split in rows] + [out / SUMMARY, out / PROPOSALS]
    write_seal(folder / SEAL, [*sorted(folder.iterdir()), *(path for path in others if path.exists())])
    last = folder / "dataset_info.json"
    for path in [*(path for path in sorted(folder.iterdir()) if path != last), last]:
        os.replace(path, out / path.name)
    return summary


def read_summary(out: Path) -> Summary:
    """Reads the summary of a complete set. Raises InputError if it is missing or damaged."""
    values = own_files.read_object(out / SUMMARY, RESTORE)
    try:
        return Summary.from_json(values)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{out / SUMMARY}: damaged, not a summary of launch.prepare: {RESTORE}") from e


def _write_index(path: Path, records: Sequence[dict[str, Any]]) -> None:
    with atomic.writing(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            ids=np.array([r["id"] for r in records]),
            shards=np.array([r["shard"] for r in records], np.int64),
            offsets=np.array([r["offset"] for r in records], np.int64),
            lengths=np.array([r["length"] for r in records], np.int64),
            num_snippets=np.array([r["num_snippets"] for r in records], np.int64),
            durations=np.array([r["duration"] for r in records], np.float64),
            crc32c=np.array([r["crc32c"] for r in records], np.int64),
        )


def _metadata(rows: dict[str, list[dict[str, Any]]], settings: packing.Settings, fingerprint: str) -> dataset.Metadata:
    recordings = {split: rows[split] for split in dataset.SPLITS if split in rows}
    training = next(iter(recordings))
    return dataset.Metadata(
        labels=settings.labels,
        streams={stream.name: stream.width for stream in settings.streams},
        stride=settings.stride,
        splits={split: len(records) for split, records in rows.items()},
        segment_seconds=_quantiles([s for record in rows[training] for s in record["segment_seconds"]]),
        recording_seconds={split: _quantiles([r["duration"] for r in records]) for split, records in rows.items()},
        segments_per_recording=max(len(r["segment_seconds"]) for records in recordings.values() for r in records),
        dtype=settings.dtype,
        fingerprint=fingerprint,
        ignored=settings.ignored,
        content=_content(rows),
    )


def _content(rows: dict[str, list[dict[str, Any]]]) -> str:
    """A digest of all records."""
    records = [[split, row["id"], row["crc32c"]] for split, group in rows.items() for row in group]
    return hashlib.sha256(json.dumps(records).encode()).hexdigest()


def _quantiles(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(np.quantile(values, dataset.QUANTILES).tolist()) if len(values) else ()


def _write_tfds(folder: Path, metadata: dataset.Metadata, rows: dict[str, list[dict[str, Any]]]) -> None:
    import tensorflow_datasets as tfds
    from etils import epath
    from tensorflow_datasets.core.splits import SplitDict

    splits = []
    for split, records in rows.items():
        lengths = np.bincount([r["shard"] for r in records]).tolist()
        size = sum(r["length"] for r in records)
        splits.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size))
    info = tfds.core.DatasetInfo(
        builder=tfds.core.dataset_info.DatasetIdentity(
            name=dataset.NAME, version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name=""
        ),
        description="Untrimmed recordings as feature sequences with labelled segments in seconds.",
        features=dataset.record_features(metadata.labels, metadata.streams, metadata.dtype, bool(metadata.ignored)),
        metadata=tfds.core.MetadataDict(tal_jax=dataset.sealed({"version": dataset.VERSION, **metadata.to_json()})),
        disable_shuffling=True,  # records are sorted by id
    )
    info.set_file_format("tfrecord")
    info.set_splits(SplitDict(splits))
    info.write_to_directory(epath.Path(folder))
