"""Packs annotations and features into a data set: what `launch.prepare` does once the plan is made.

A run is split into shards that are planned beforehand, so that the result does not depend on the number of workers.
While a set is in the making, `OUT/unfinished/` holds the fingerprint of the run and a note for every finished shard:
started again, the run goes on with the others. `dataset_info.json` is written last.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from tal_jax.data import atomic, dataset, proposals
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.prepare import metadata as finish
from tal_jax.prepare import proposal_files, stream_tally
from tal_jax.prepare import shards as packing
from tal_jax.prepare import workers as processes
from tal_jax.prepare.plan import Options, Plan, make_plan
from tal_jax.prepare.summary import Summary

DONE = ".done.json"  # notes of finished shards
UNFINISHED = "an unfinished set that cannot be gone on with: remove {}, and prepare it anew"
HARMED = "harmed.json"  # the streams that are stored as float32, as the type that was asked for would harm them


def prepare(options: Options) -> str:
    """Prepares a data set, or goes on with one that was interrupted.

    Returns:
      The summary as text: what was kept, and what was left out or changed and why.

    Raises:
      InputError: an argument or a file is wrong; no `dataset_info.json` is left.
      OSError: the disk is full; free some and start again.
    """
    return run(make_plan(options), Path(options.out), options.workers)


def run(plan: Plan, out: Path, workers: int | None = None) -> str:
    """Writes a planned set, or goes on with one that was interrupted.

    Args:
      plan: what it holds.
      out: its folder.
      workers: processes; None: all cores.

    Returns:
      The summary as text.

    Raises:
      InputError: a file is wrong, or the folder holds something else; no `dataset_info.json` is left.
      OSError: the disk is full; free some and start again.
    """
    if (out / "dataset_info.json").exists():
        table = _complete(out, plan).table()
        return f"{out} is already complete (remove it to pack files that were written anew).\n{table}"
    created = not out.exists()
    with _claim(out, plan) as unfinished:
        try:
            shards, tallies = _packed(out, unfinished, plan, workers or os.cpu_count() or 1)
        except BaseException:
            if not any(unfinished.glob(f"*{DONE}")):  # nothing worth going on with
                shutil.rmtree(out if created else unfinished, ignore_errors=True)
            raise
        summary = finish.finish(out, unfinished, shards, plan, tallies)
    shutil.rmtree(unfinished)
    return summary.table()


def _complete(out: Path, plan: Plan) -> Summary:
    if dataset.read_metadata(out).fingerprint != plan.fingerprint:
        raise InputError(f"{out}: holds a set prepared from other arguments or data: choose another --out or remove it")
    for split in plan.splits:
        dataset.open_split(out, split)
    shutil.rmtree(out / "unfinished", ignore_errors=True)
    return finish.read_summary(out)


@contextmanager
def _claim(out: Path, plan: Plan) -> Iterator[Path]:
    """Takes hold of the folder, empty or of an interrupted run of the same fingerprint; gives `OUT/unfinished`."""
    unfinished = out / "unfinished"
    manifest = unfinished / "manifest.json"
    try:
        ours = manifest.exists()
        if not ours and out.exists() and any(path != unfinished for path in out.iterdir()):
            raise InputError(f"{out}: not empty, and no set of launch.prepare: choose another --out or empty it")
        unfinished.mkdir(parents=True, exist_ok=True)
        with FileLock(unfinished / "lock", timeout=0):
            if not ours:
                atomic.write(manifest, json.dumps({"fingerprint": plan.fingerprint}).encode())
            elif _fingerprint(manifest, out) != plan.fingerprint:
                raise InputError(
                    f"{out}: holds an unfinished set of other arguments or data: choose another --out or remove it"
                )
            for path in [*out.glob(f"*{atomic.SUFFIX}"), *unfinished.glob(f"*{atomic.SUFFIX}")]:
                path.unlink(missing_ok=True)
            yield unfinished
    except Timeout as e:
        raise InputError(f"{out}: another launch.prepare is writing here: wait for it, or choose another --out") from e
    except (PermissionError, FileExistsError, NotADirectoryError) as e:
        raise InputError(f"{out}: cannot be written ({e.strerror}): choose another --out") from e


def _harmed(noted: Path, out: Path) -> tuple[str, ...]:
    remedy = UNFINISHED.format(out)
    names = own_files.as_json(noted, own_files.read_bytes(noted, remedy), remedy)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{noted}: damaged, not the names of streams: {remedy}")
    return tuple(names)


def _fingerprint(manifest: Path, out: Path) -> str:
    remedy = UNFINISHED.format(out)
    return str(own_files.member(manifest, own_files.read_object(manifest, remedy), "fingerprint", str, remedy))


def _packed(
    out: Path, unfinished: Path, plan: Plan, count: int
) -> tuple[list[packing.Shard], dict[str, stream_tally.Tally]]:
    """Packs all shards; again, where a stream turns out to need more digits than the type that was asked for has."""
    noted = unfinished / HARMED
    harmed = _harmed(noted, out) if noted.exists() else ()
    while True:
        shards = list(_shards(out, unfinished, plan, harmed))
        _pack(out, shards, plan, count)
        tallies = stream_tally.merged(packing.tallies(shard) for shard in shards)
        reasons = stream_tally.harmed(tallies, shards[0].settings.dtype)
        if set(reasons) == set(harmed):
            return shards, tallies
        harmed = tuple(sorted(reasons))
        atomic.write(noted, json.dumps(harmed).encode())
        for name, reason in reasons.items():
            print(f"stream {name} is written again as {stream_tally.FALLBACK}: {reason}", file=sys.stderr)


def _shards(out: Path, unfinished: Path, plan: Plan, harmed: tuple[str, ...] = ()) -> Iterator[packing.Shard]:
    for split, group in plan.splits.items():
        settings = replace(group.settings, harmed=harmed)
        parts: list[list[packing.Item]] = []
        room = 0
        for item in group.items:
            needed = sum(item.sizes)
            if not parts or needed > room:
                parts.append([])
                room = plan.shard_bytes
            parts[-1].append(item)
            room -= needed
        for path, part in zip(dataset.shard_paths(out, split, len(parts)), parts, strict=True):
            done = unfinished / f"{path.name}{DONE}"
            yield packing.Shard(split, str(path), str(done), tuple(part), settings)


def _pack(out: Path, shards: Sequence[packing.Shard], plan: Plan, count: int) -> None:
    pending = [shard for shard in shards if packing.read_done(shard) is None]
    done = sum(len(shard.items) for shard in shards) - sum(len(shard.items) for shard in pending)
    with tqdm(total=done + sum(len(s.items) for s in pending), initial=done, unit=" recordings", disable=None) as bar:
        for shard in processes.run(packing.write_shard, pending, count):
            bar.update(len(shard.items))
    if plan.proposals:
        durations = _durations(shards) if plan.fractions else None
        items = proposal_files.read(plan.proposals, durations)
        items = tqdm(items, total=len(plan.proposals), unit=" proposal files", disable=None)
        proposals.write(out / proposals.FILE_NAME, items)


def _durations(shards: Sequence[packing.Shard]) -> dict[str, float]:
    """Seconds of every recording of finished shards; clips may have the ids of others."""
    done = [packing.read_done(shard) for shard in shards if shard.split != dataset.CLIPS]
    return {row["id"]: row["duration"] for shard in done if shard for row in shard["records"]}
