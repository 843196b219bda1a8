"""Trained runs, of other encoders or seeds, that detect together: their outputs are averaged, then decoded."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from tal_jax.data.dataset import Split, open_split
from tal_jax.errors import InputError
from tal_jax.evaluation.pairs import SegmentTable, table_of
from tal_jax.evaluation.submission import Submission
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.tasks.task import Params
from tal_jax.train.build import Stage, build_stage, elsewhere
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.detect import trained_stage
from tal_jax.train.ensemble_weights import normalized
from tal_jax.train.handover import as_input, per_recording
from tal_jax.train.predict import merged, out
from tal_jax.train.tuned import tuned
from tal_jax.train.workdir import read_config
from tal_jax.types import Batch, Detections
from tal_jax.windows import Found

SAME = 0.01  # lengths that differ by a smaller share are the same


@dataclasses.dataclass(frozen=True)
class Run:
    """A training that takes part."""

    workdir: Path
    config: dict[str, Any]
    records: Split  # what is to be detected in, as this run's encoder sees it
    position: Mapping[str, int]  # of a recording in `records`
    checkpoint: str


@dataclasses.dataclass(frozen=True)
class Member:
    """One run's stage, ready to be asked."""

    run: Run
    stage: Stage  # with the task as it was tuned
    params: Params

    def span(self) -> float:
        """Seconds that a frame covers; 0: whatever a recording has."""
        framing = self.stage.assembler.framing
        return 0.0 if framing.mode == "resize" else framing.native_span(0) * (self.run.records.metadata.stride or 1.0)


def open_runs(
    workdirs: Sequence[str | Path], split: str, *, data: Sequence[str] = (), checkpoint: str = "last"
) -> list[Run]:
    """Opens trainings and what each of them detects in.

    Args:
      workdirs: of the trainings.
      split: the split's name in every run's prepared set.
      data: other prepared sets than those trained on, one for each run; or none.
      checkpoint: "last" or "best".

    Raises:
      InputError: no such workdir or split, or another number of sets than of runs.
    """
    if data and len(data) != len(workdirs):
        raise InputError(f"{len(data)} sets for {len(workdirs)} runs: give one for each, or none")
    runs = []
    for i, workdir in enumerate(workdirs):
        config = read_config(workdir)
        directory = data[i] if data else config["data"]["dir"]
        records = open_split(directory, split)
        if data:
            elsewhere(config, directory, split)
        position = {str(id): n for n, id in enumerate(records.ids)}
        runs.append(Run(Path(workdir).absolute(), config, records, position, checkpoint))
    return runs


def detect_together(
    runs: Sequence[Run], weights: Sequence[float], *, stage: str = "", batch_size: int = 8
) -> Submission:
    """Detections of all recordings that any run has, by the average of the outputs of those that have it.

    TCANet refines the same proposals in all runs: those of all their BMNs together where every run has one, the first
    run's otherwise. The first run that has a recording gives its windows, its time axis and its decoding.

    Args:
      runs: of one track, for the same classes.
      weights: [N], of the runs; made to sum to 1 over those that have a recording.
      stage: name; "" is the last of the track.
      batch_size: windows at a time.

    Raises:
      InputError: the runs do not fit together: other kinds of stages, classes, frames or anchors.
    """
    names = [stage or run.config["track"][-1] for run in runs]
    for name, run in zip(names, runs, strict=True):
        if name not in run.config["track"]:
            raise InputError(f"--stage={name}: {run.workdir} has no such stage: {', '.join(run.config['track'])}")
    ids = sorted({id for run in runs for id in run.position})
    members = [_member(run, name) for run, name in zip(runs, names, strict=True)]
    table = _together(members, weights, ids, batch_size)
    return Submission(tuple(ids), members[0].stage.trained_on.labels, table)


def _member(run: Run, name: str) -> Member:
    built = build_stage(run.config, name, run.workdir)
    params = restore_params(run.workdir, name, which=run.checkpoint)
    return Member(run, dataclasses.replace(built, task=tuned(built.task, run.workdir, name)), params)


def _together(members: list[Member], weights: Sequence[float], ids: Sequence[str], batch_size: int) -> SegmentTable:
    _check(members)
    members = _with_shared_inputs(members, weights, ids, batch_size)
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for id in ids:
        groups[tuple(i for i, member in enumerate(members) if id in member.run.position)].append(id)
    found: dict[str, Found] = {}
    with tqdm(total=len(ids), desc=f"{members[0].stage.name} of {len(members)} runs", unit="recording") as bar:
        for present, own in groups.items():
            part = normalized([weights[i] for i in present])
            for id, detections in _group([members[i] for i in present], part, own, batch_size):
                found[id] = detections
                bar.update()
    return table_of((i, found[id]) for i, id in enumerate(ids))


def _with_shared_inputs(
    members: list[Member], weights: Sequence[float], ids: Sequence[str], batch_size: int
) -> list[Member]:
    """Gives all members the same proposals and class scores, by the stages before where all have one."""
    first = members[0].stage.assembler
    if first.proposals is None:
        return members
    shared: dict[str, Any] = {}
    for field, kind in (("proposals", "bmn"), ("class_scores", "classifier")):
        given = getattr(first, field)
        if given is None:
            continue
        before = [trained_stage(m.run.config, m.run.workdir, kind) for m in members]
        if all(before):
            inner = [_member(m.run, str(name)) for m, name in zip(members, before, strict=True)]
            rows = per_recording(np.asarray(ids), _together(inner, weights, ids, batch_size))
            shared[field] = {id: as_input(kind, table, members[0].stage.assembler.num_classes) for id, table in rows}
        else:
            shared[field] = given
        missing = [id for id in ids if id not in shared[field]]
        if missing:
            raise InputError(
                f"recording {missing[0]} and {len(missing) - 1} more have no {field.replace('_', ' ')}: not all runs "
                f"have a trained {kind} stage, and {members[0].run.workdir} was given none for them"
            )
    return [
        dataclasses.replace(
            m, stage=dataclasses.replace(m.stage, assembler=dataclasses.replace(m.stage.assembler, **shared))
        )
        for m in members
    ]


def _check(members: Sequence[Member]) -> None:
    """Raises InputError where the outputs of members cannot be averaged."""
    first = members[0]
    remedy = "fuse their detections instead (--fusion=detections)"
    if not hasattr(first.stage.task, "fused"):
        raise InputError(
            f"{first.run.workdir}: stage {first.stage.name} of kind {first.stage.kind}: each model refines proposals "
            f"of its own, whose outputs cannot be averaged: {remedy}"
        )
    for other in members[1:]:
        pair = f"{first.run.workdir} and {other.run.workdir}"
        if (first.stage.kind, type(first.stage.task)) != (other.stage.kind, type(other.stage.task)):
            raise InputError(f"{pair}: stages of kind {first.stage.kind} and {other.stage.kind}: {remedy}")
        if first.stage.trained_on.labels != other.stage.trained_on.labels:
            raise InputError(f"{pair}: other classes, or in another order: {remedy}")
        spans = [m.span() for m in (first, other)]
        if abs(spans[0] - spans[1]) > SAME * max(spans):
            raise InputError(f"{pair}: frames of {spans[0]:g} s and {spans[1]:g} s: {remedy}")
        tasks = [m.stage.task for m in (first, other)]
        if all(isinstance(task, MGFNTask) for task in tasks):
            anchors = [
                np.asarray(task.model.anchors) / m.stage.assembler.framing.snippets  # type: ignore[attr-defined]
                for task, m in zip(tasks, (first, other), strict=True)
            ]
            if anchors[0].shape != anchors[1].shape or not np.allclose(anchors[0], anchors[1], rtol=SAME):
                raise InputError(f"{pair}: anchors of other lengths: {remedy}")
        if getattr(tasks[0], "classes", None) != getattr(tasks[1], "classes", None):
            raise InputError(f"{pair}: classes from elsewhere: {remedy}")


def _group(
    members: Sequence[Member], weights: Sequence[float], ids: Sequence[str], batch_size: int
) -> Iterator[tuple[str, Found]]:
    """Detections in seconds of recordings that all of these members have."""
    first = members[0]
    tasks: list[Any] = [member.stage.task for member in members]
    params = [member.params for member in members]

    @jax.jit
    def step(params: Sequence[Params], batches: Sequence[Batch]) -> Detections:
        outputs = [task.outputs(p, batch) for task, p, batch in zip(tasks, params, batches, strict=True)]
        return tasks[0].decoded(tasks[0].fused(outputs, jnp.array(weights, jnp.float32)), batches[0])

    merge = jax.jit(tasks[0].merge)
    windows: dict[str, list[Found]] = {}
    starts = {id: _starts(first, id) for id in ids}
    places = [(id, start) for id in ids for start in starts[id]]
    for at in range(0, len(places), batch_size):
        part = places[at : at + batch_size]
        batches = [_batch(member, part, batch_size) for member in members]
        found = jax.device_get(step(params, batches))
        for row, (id, start) in enumerate(part):
            recording = first.run.records.durations[first.run.position[id]]
            windows.setdefault(id, []).append(out(found, batches[0], row, start=start, recording=recording))
            if len(windows[id]) == len(starts[id]):
                yield id, merged(merge, windows.pop(id))


def _stride(member: Member, id: str) -> float:
    """Seconds per stored snippet of a recording."""
    position = member.run.position[id]
    records = member.run.records
    return float(records.metadata.stride or records.durations[position] / records.num_snippets[position])


def _starts(member: Member, id: str) -> list[float]:
    """Where the windows of a recording start, in seconds."""
    count = int(member.run.records.num_snippets[member.run.position[id]])
    return [float(offset) * _stride(member, id) for offset in member.stage.assembler.framing.offsets(count)]


def _batch(member: Member, places: Sequence[tuple[str, float]], size: int) -> Batch:
    """The windows that begin at the given seconds, as this member sees them, and empty rows."""
    assembler, run = member.stage.assembler, member.run
    rows = []
    for id, start in places:
        position = run.position[id]
        # Rounded: 0.3 s of 0.1 s each are three snippets, not 2.9999999996, which would be interpolated.
        offset = round(start / _stride(member, id), 6)
        rows.append(assembler.detection_row(run.records[position], position, offset)[0])
    rows += [assembler.empty_row()[0]] * (size - len(rows))
    return jax.tree.map(lambda *x: np.stack(x), *rows)
