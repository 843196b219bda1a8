"""Members of an ensemble: trained runs with the recordings that each of them detects in."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.data.dataset import Split, open_split
from tal_jax.detect.remarks import remark
from tal_jax.errors import InputError
from tal_jax.stages.plan import with_dataset
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import Stage, build_stage
from tal_jax.stages.tuned_decoding import tuned
from tal_jax.stages.workdir import read_config
from tal_jax.tasks.task import Params
from tal_jax.train.checkpoint import restore_params

SAME = 0.01  # lengths that differ by a smaller share are the same


@dataclasses.dataclass(frozen=True)
class Run:
    """A training that takes part in an ensemble."""

    workdir: Path
    config: Config
    records: Split  # the recordings to detect in, as this run's encoder sees them
    position: Mapping[str, int]  # id -> position in `records`
    checkpoint: str  # "last" or "best"


@dataclasses.dataclass(frozen=True)
class Member:
    """One run's stage with its parameters, ready to detect."""

    run: Run
    stage: Stage  # its task has the tuned decoding
    params: Params

    def span(self) -> float:
        """Seconds that a frame covers; 0 where a frame is a whole recording, however long."""
        framing, metadata = self.stage.assembler.framing, self.run.records.metadata
        stride = metadata.stride or metadata.typical_stride or 1.0
        return 0.0 if framing.mode == "resize" else framing.native_span(0) * stride


def open_runs(
    workdirs: Sequence[str | Path], split: str, *, data: Sequence[str] = (), checkpoint: str = "last"
) -> list[Run]:
    """Opens trainings and the recordings that each of them detects in.

    Args:
      workdirs: the folders of the trainings.
      split: the split's name in every run's prepared set.
      data: folders of other prepared sets than those trained on, one for each run; () takes each run's own.
      checkpoint: "last" or "best".

    Raises:
      InputError: there is no such workdir or split, or another number of sets than of runs is given.
    """
    if data and len(data) != len(workdirs):
        raise InputError(f"{len(data)} sets for {len(workdirs)} runs: give one for each, or none")
    runs = []
    for i, workdir in enumerate(workdirs):
        config = read_config(workdir)
        directory = data[i] if data else config.data.dir
        records = open_split(directory, split)
        if data:
            config = with_dataset(config, directory, split)
        position = {str(id): n for n, id in enumerate(records.ids)}
        runs.append(Run(Path(workdir).absolute(), config, records, position, checkpoint))
    return runs


def open_member(run: Run, name: str) -> Member:
    """A run's stage with its trained parameters and its tuned decoding.

    Args:
      run: the training.
      name: the stage's name.

    Raises:
      InputError: there is no such stage or checkpoint, or it is damaged.
    """
    built = build_stage(run.config, name, run.workdir)
    remark(built, run.records)
    params = restore_params(run.workdir, name, which=run.checkpoint)
    return Member(run, dataclasses.replace(built, task=tuned(built.task, run.workdir, name)), params)


def check_alike(members: Sequence[Member]) -> None:
    """Raises InputError where the outputs of the members cannot be averaged; the text names the first difference."""
    first = members[0]
    remedy = "fuse their detections instead (--fusion=detections)"
    if not first.stage.task.fusable:
        raise InputError(
            f"{first.run.workdir}: stage {first.stage.name} ({first.stage.section.task}): its outputs are of proposals "
            f"that each model makes for itself, and cannot be averaged: {remedy}"
        )
    for other in members[1:]:
        pair = f"{first.run.workdir} and {other.run.workdir}"
        kinds = [member.stage.section.task for member in (first, other)]
        if type(first.stage.task) is not type(other.stage.task):
            raise InputError(f"{pair}: stages of {kinds[0]} and {kinds[1]}: {remedy}")
        if first.stage.trained_on.labels != other.stage.trained_on.labels:
            raise InputError(f"{pair}: other classes, or in another order: {remedy}")
        spans = [m.span() for m in (first, other)]
        if abs(spans[0] - spans[1]) > SAME * max(spans):
            raise InputError(f"{pair}: frames of {spans[0]:g} s and {spans[1]:g} s: {remedy}")
        mine, theirs = _alike(first), _alike(other)
        for name, value in mine.items():
            if not _same(value, theirs[name]):
                raise InputError(f"{pair}: other {name} ({value} and {theirs[name]}): {remedy}")


def _alike(member: Member) -> dict[str, Any]:
    task: Any = member.stage.task
    return task.alike(member.stage.assembler.framing.snippets)


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal; numbers may differ by the small fraction SAME."""
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or x.dtype.kind != "f":
        return a == b
    return np.allclose(x, y, rtol=SAME)
