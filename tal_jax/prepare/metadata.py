"""The last step of launch.prepare: indexes, summary and metadata of a set whose shards are all written."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.checks import timing
from tal_jax.checks.doubts import Doubt, settle
from tal_jax.data import atomic, dataset
from tal_jax.data.annotations import Note
from tal_jax.data.proposals import FILE_NAME as PROPOSALS
from tal_jax.data.record import record_features
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.guarded.seal import FILE_NAME as SEAL
from tal_jax.guarded.seal import RESTORE, write_seal
from tal_jax.guarded.split_index import index_path
from tal_jax.prepare import shards as packing
from tal_jax.prepare import stream_tally
from tal_jax.prepare.plan import Plan
from tal_jax.prepare.summary import ClassSummary, SplitSummary, Summary

SUMMARY = "summary.json"


def finish(
    out: Path,
    unfinished: Path,
    shards: Sequence[packing.Shard],
    plan: Plan,
    tallies: Mapping[str, stream_tally.Tally],
) -> Summary:
    """Writes `SPLIT.index.npz`, `summary.json`, TFDS's metadata files, the seal, and `dataset_info.json` last of all.

    Args:
      out: the folder of the set.
      unfinished: a folder inside it for what is not complete yet.
      shards: all shards, finished, by split and number.
      plan: the plan that the shards are of; their notes are added to its own.
      tallies: what the files of each stream turned out to be.

    Raises:
      InputError: a shard has disappeared in the meantime, or what was read contradicts itself.
      OSError: the disk is full.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    all_notes = list(plan.notes)
    timed: dict[bool, list[timing.Timed]] = {False: [], True: []}  # recordings, and clips
    for shard in shards:
        done = packing.read_done(shard)
        if done is None:
            raise InputError(f"{shard.path}: a feature file or the shard changed during the run: start again")
        group = rows.setdefault(shard.split, [])
        number = group[-1]["shard"] + 1 if group else 0
        group += [{**row, "shard": number} for row in done["records"]]
        timed[shard.split == dataset.CLIPS] += [
            timing.Timed(item.recording, row["num_snippets"], item.stride)
            for item, row in zip(shard.items, done["records"], strict=True)
        ]
        found = [Note(*note) for note in done["notes"]]
        all_notes += [note.of_clip() for note in found] if shard.split == dataset.CLIPS else found
    accepted = _accepted(plan, timed[False], rows)
    all_notes += [*accepted, *timing.notes(timed[False]), *(note.of_clip() for note in timing.notes(timed[True]))]
    for split, records in rows.items():
        if split != dataset.CLIPS:
            all_notes += [Note("weak only", row["id"], split) for row in records if _weak_only(row)]
        _write_index(index_path(out, split), records)
    # Of the recordings: their splits come first.
    metadata = _metadata(rows, shards[0].settings, plan, [note.id for note in accepted])
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
        _classes(metadata.labels, rows),
        [
            _stride_line(plan, rows),
            *plan.facts,
            *stream_tally.lines(tallies, shards[0].settings.dtype, shards[0].settings.dtypes),
        ],
    )
    atomic.write(out / SUMMARY, json.dumps(summary.to_json(), indent=1).encode())
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


def _accepted(plan: Plan, timed: Sequence[timing.Timed], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Note]:
    """Settles what only the files themselves tell, and what the plan has settled."""
    doubts = {doubt.reason: doubt for doubt in plan.doubts}
    # Of formats without headers, and without durations, the plan knew nothing.
    found = timing.contradicted_lengths(plan.annotations, plan.stride_flag, timed, {})
    found += timing.misplaced_segments(plan.annotations, timed)
    first = next(split for split in dataset.SPLITS if split in rows)
    had = sum(len(t.recording.instances) for t in timed if t.recording.subset == first)
    if had and not any(row["segment_seconds"] for row in rows[first]):
        text = f"{plan.annotations}: all {had:,} segments of {first} are left out: none is left to learn from"
        found.append(Doubt("no_segments", text))
    return settle(list((doubts | {doubt.reason: doubt for doubt in found}).values()), plan.accept)


def _classes(labels: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, ClassSummary]:
    """What there is of every class in the recordings; clips are not counted."""
    lengths: dict[str, list[list[float]]] = {split: [[] for _ in labels] for split in rows if split in dataset.SPLITS}
    recordings = [0] * len(labels)
    for split, found in lengths.items():
        for row in rows[split]:
            for label in row["present"]:
                recordings[label] += 1
            for label, seconds in zip(row["labels"], row["segment_seconds"], strict=True):
                found[label].append(seconds)
    return {
        label: ClassSummary(
            recordings[i],
            {split: len(found[i]) for split, found in lengths.items()},
            float(np.median(every)) if (every := [s for found in lengths.values() for s in found[i]]) else None,
        )
        for i, label in enumerate(labels)
    }


def _stride_line(plan: Plan, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    strides = [row["stride"] for records in rows.values() for row in records]
    low, high = f"{min(strides):.4g}", f"{max(strides):.4g}"
    said = f"{low} s" if low == high else f"{low} to {high} s, of each recording"
    return f"stride: {said} ({plan.stride_flag})"


def read_summary(out: Path) -> Summary:
    """Reads the summary of a complete set. Raises InputError if it is missing or damaged."""
    values = own_files.read_object(out / SUMMARY, RESTORE)
    try:
        return Summary.from_json(values)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{out / SUMMARY}: damaged, not a summary of launch.prepare: {RESTORE}") from e


def _weak_only(row: Mapping[str, Any]) -> bool:
    return bool(row["present"]) and not row["segment_seconds"]


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
            strides=np.array([r["stride"] for r in records], np.float64),
            weak_only=np.array([_weak_only(r) for r in records], bool),
        )


def _metadata(
    rows: dict[str, list[dict[str, Any]]], settings: packing.Settings, plan: Plan, accepted: Sequence[str]
) -> dataset.Metadata:
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
        dtypes=settings.dtypes,
        fingerprint=plan.fingerprint,
        ignored=settings.ignored,
        content=_content(rows),
        typical_stride=_typical(recordings[training], settings),
        encoders={name: dict(found) for name, found in plan.encoders.items()},
        accepted=tuple(accepted),
    )


def _typical(records: Sequence[Mapping[str, Any]], settings: packing.Settings) -> float | None:
    """The median stride; None where all recordings were resized to one length, whose strides say nothing."""
    resized = settings.stride is None and len({row["num_snippets"] for row in records}) == 1
    return None if resized else float(np.median([row["stride"] for row in records]))


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
        features=record_features(metadata.labels, metadata.streams, metadata.dtypes, bool(metadata.ignored)),
        metadata=tfds.core.MetadataDict(tal_jax=dataset.sealed({"version": dataset.VERSION, **metadata.to_json()})),
        disable_shuffling=True,  # records are sorted by id
    )
    info.set_file_format("tfrecord")
    info.set_splits(SplitDict(splits))
    info.write_to_directory(epath.Path(folder))
