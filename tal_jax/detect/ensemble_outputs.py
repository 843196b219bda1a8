"""Ensembles by outputs: those of trained runs, of other encoders or seeds, are averaged and then decoded."""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from tal_jax.detect.detect import trained_stage
from tal_jax.detect.ensemble_members import Member, Run, check_alike, open_member
from tal_jax.detect.ensemble_weights import normalized
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import SegmentTable, table_of
from tal_jax.frames import Place, by_recording, map_batches
from tal_jax.stages.handover import as_input, per_recording
from tal_jax.stages.map_frames import rows_of
from tal_jax.stages.predictor import in_seconds, merged
from tal_jax.tasks.finite import marked
from tal_jax.tasks.task import Params
from tal_jax.types import Batch, Detections
from tal_jax.windows import WindowDetections
from tal_jax.words import hint


def detect_together(
    runs: Sequence[Run], weights: Sequence[float], *, stage: str = "", batch_size: int = 8
) -> Submission:
    """Detections of all recordings that any run has, by the average of the outputs of those that have it.

    TCANet refines the same proposals in all runs: those of all their BMNs together where every run has one, the first
    run's otherwise. The first run that has a recording gives its windows, its time axis and its decoding.

    Args:
      runs: N trainings of one track, for the same classes.
      weights: [N] numbers from 0 on; over the runs that have a recording they are made to sum to 1.
      stage: the stage's name in every run; "" is the last one of the track.
      batch_size: how many windows are computed at a time.

    Returns:
      The detections in seconds, best first for each recording.

    Raises:
      InputError: the runs do not fit together: they differ in methods, classes, frames or anchors.
    """
    names = [stage or run.config.track[-1] for run in runs]
    for name, run in zip(names, runs, strict=True):
        if name not in run.config.track:
            raise InputError(f"--stage={name}: {run.workdir} has no such stage: {hint(name, run.config.track)}")
    ids = sorted({id for run in runs for id in run.position})
    members = [open_member(run, name) for run, name in zip(runs, names, strict=True)]
    table = _together(members, weights, ids, batch_size)
    return Submission(tuple(ids), members[0].stage.trained_on.labels, table)


def _together(members: list[Member], weights: Sequence[float], ids: Sequence[str], batch_size: int) -> SegmentTable:
    check_alike(members)
    members = _with_shared_inputs(members, weights, ids, batch_size)
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for id in ids:
        groups[tuple(i for i, member in enumerate(members) if id in member.run.position)].append(id)
    found: dict[str, WindowDetections] = {}
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
    """Gives all members the same proposals and class scores, those of the stages before where all have such a stage."""
    first = members[0].stage
    shared: dict[str, Any] = {}
    for artifact, given in first.artifacts.items():
        before = [trained_stage(m.run.config, m.run.workdir, artifact) for m in members]
        if all(before):
            inner = [open_member(m.run, str(name)) for m, name in zip(members, before, strict=True)]
            rows = per_recording(np.asarray(ids), _together(inner, weights, ids, batch_size))
            classes = first.assembler.num_classes
            shared[artifact] = {id: as_input(artifact, table, classes) for id, table in rows}
        else:
            shared[artifact] = given.values
        missing = [id for id in ids if id not in shared[artifact]]
        if missing:
            raise InputError(
                f"recording {missing[0]} and {len(missing) - 1} more have no {artifact.replace('_', ' ')}: not all "
                f"runs have a trained stage that makes them, and {members[0].run.workdir} was given none for them"
            )
    return [
        dataclasses.replace(
            m, stage=dataclasses.replace(m.stage, assembler=dataclasses.replace(m.stage.assembler, **shared))
        )
        for m in members
    ]


def _group(
    members: Sequence[Member], weights: Sequence[float], ids: Sequence[str], batch_size: int
) -> Iterator[tuple[str, WindowDetections]]:
    """(id, detections in seconds) of recordings that all of these members have."""
    first = members[0]
    tasks: list[Any] = [member.stage.task for member in members]
    params = [member.params for member in members]
    records = first.run.records

    @jax.jit
    def step(params: Sequence[Params], batches: Sequence[Batch]) -> Detections:
        outputs = [task.forward(p, batch) for task, p, batch in zip(tasks, params, batches, strict=True)]
        fused = tasks[0].decode(tasks[0].fuse_outputs(outputs, jnp.array(weights, jnp.float32)), batches[0])
        return marked(fused, [task.decoded_from(x) for task, x in zip(tasks, outputs, strict=True)])

    def batches() -> Iterator[tuple[list[Batch], list[Place[Batch] | None]]]:
        """The first member's windows, as every member sees them."""
        starts = ((id, start) for id in ids for start in _starts(first, id))
        while part := list(itertools.islice(starts, batch_size)):
            seen = [_batch(member, part, batch_size) for member in members]
            real = [
                Place(first.run.position[id], start, row)
                for (id, start), row in zip(part, rows_of(seen[0]), strict=False)  # the last batch is filled
            ]
            yield seen, [*real, *[None] * (batch_size - len(part))]

    merge = jax.jit(tasks[0].merge)
    frames = map_batches(partial(step, params), batches(), rows_of)
    found = (
        (frame.position, in_seconds(frame, str(records.ids[frame.position]), records.durations[frame.position]))
        for frame in frames
    )
    for position, windows in by_recording(found):
        yield str(records.ids[position]), merged(merge, windows)


def _stride(member: Member, id: str) -> float:
    """Seconds per stored snippet of a recording."""
    return float(member.run.records.strides[member.run.position[id]])


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
