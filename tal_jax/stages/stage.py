"""A stage, ready to run: its plan, the artifacts that it takes, and how a recording becomes a row.

Nothing here writes but `remember`, under the lock of a training.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.data import normalization as statistics
from tal_jax.data.augmentation import Augmentation
from tal_jax.data.rows import Assembler, class_numbers
from tal_jax.sensors import axes as sensor_axes
from tal_jax.stages.artifacts import Artifact, check_inputs, check_seconds, check_set, read_artifact, write_inputs
from tal_jax.stages.config import parse
from tal_jax.stages.plan import StagePlan, augmentation_of, plan_stage
from tal_jax.stages.recordings import held_out_digest
from tal_jax.stages.remembered import NORMALIZATION, TRIAXIAL, forget, seal, write_set
from tal_jax.stages.sections import Config
from tal_jax.stages.workdir import has_checkpoint, newest_step
from tal_jax.tasks.task import CLASS_SCORES, OF_RECORDINGS, PROPOSALS
from tal_jax.windows import Normalization


@dataclasses.dataclass(frozen=True)
class Stage(StagePlan):
    """Everything a stage needs, ready to run."""

    assembler: Any  # an `Assembler`, or what the task makes rows with
    artifacts: Mapping[str, Artifact]  # that go into its rows, by name


def complete_stage(plan: StagePlan) -> Stage:
    """Reads the artifacts of earlier stages and what the stage remembers, or measures it: all that its rows need.

    Args:
      plan: what `plan_stage` returns, of a stage whose predecessors have run.

    Raises:
      InputError: an artifact is missing, or was made from another set or with other parameters than the one that the
        stage was trained with.
    """
    artifacts = _artifacts(plan)
    classes = class_numbers(plan.training.metadata.labels, plan.trained_on.labels)
    rows = plan.task.rows(plan.section.settings, plan.streams, classes) or _assembler(plan, artifacts, classes)
    return Stage(**vars(plan), assembler=rows, artifacts=artifacts)


def build_stage(config: Config | Mapping[str, Any], name: str, workdir: Path) -> Stage:
    """Plans and completes one stage: what detection, an export and everybody else does who does not train a track.

    Arguments as of `plan_stage`; the config may be nested values as well.

    Raises:
      InputError: as of `plan_stage` and `complete_stage`.
    """
    return complete_stage(plan_stage(parse(config), name, workdir))


def remember(stage: Stage) -> None:
    """Writes what a stage has to know again when it goes on, or detects; under the lock of a training.

    Args:
      stage: a stage that has saved nothing yet, with the rows that it will be trained on.
    """
    workdir = stage.workdir
    forget(workdir, stage.name)
    write_set(workdir, stage.name, stage.trained_on, stage.longest, held_out_digest(stage.recordings))
    folder, assembler = workdir / stage.name, stage.assembler
    if assembler.normalization is not None:
        statistics.write(folder / NORMALIZATION, assembler.normalization)
    if assembler.augmentation.turns:
        sensor_axes.write(folder / TRIAXIAL, assembler.augmentation.triaxial)
    write_inputs(workdir, stage.name, stage.artifacts)
    seal(workdir, stage.name)


def _artifacts(plan: StagePlan) -> dict[str, Artifact]:
    """The artifacts that go into the rows of recordings, by name."""
    names = [name for name in plan.section.needs if name in OF_RECORDINGS]
    labels = plan.trained_on.labels
    found = {name: read_artifact(plan.config, plan.name, name, plan.workdir, labels) for name in names}
    if PROPOSALS in found:
        check_seconds(found[PROPOSALS], plan.training)
    if newest_step(plan.workdir, plan.name):  # what was converted has learned from none of them
        check_inputs(plan.workdir, plan.name, found)
    return {name: of_this_set(artifact, plan, name) for name, artifact in found.items()}


def of_this_set(artifact: Artifact, plan: StagePlan, name: str) -> Artifact:
    """The artifact, emptied where it was made from another set: the same ids mean other recordings there.

    Args:
      artifact: one that the stage takes.
      plan: the plan of the stage.
      name: which one it is. A file that the config names may have been made by another system, which says nothing.

    Raises:
      InputError: the stage is at work on its own set, and the artifact is from another one.
    """
    training = plan.training
    if plan.on_its_own_set:
        check_set(artifact, training.metadata, training.directory)
        return artifact
    given = bool(plan.section.files.get(name))
    usable = given if artifact.origin is None else artifact.origin.is_of(training.metadata)
    return artifact if usable else dataclasses.replace(artifact, values={})


def _assembler(plan: StagePlan, artifacts: Mapping[str, Artifact], classes: np.ndarray | None) -> Assembler:
    """What makes rows of the stage's recordings."""
    frame, trained_on, weak = plan.section.data, plan.trained_on, plan.task.weak
    values = {name: artifact.values for name, artifact in artifacts.items()}
    return Assembler(
        framing=plan.framing,
        streams=plan.streams,
        width=sum(trained_on.streams[s] for s in plan.streams),
        num_classes=len(trained_on.labels),
        max_segments=0 if weak else max(trained_on.segments_per_recording, 1),
        max_proposals=frame.proposals if PROPOSALS in values else 0,
        train_proposals=frame.train_proposals,
        normalization=_normalization(plan) if plan.config.data.normalize else None,
        proposals=values.get(PROPOSALS),
        class_scores=values.get(CLASS_SCORES),
        min_seconds=frame.min_seconds,
        stride_jitter=frame.stride_jitter,
        augmentation=_turning(plan),
        around_actions=frame.around_actions,
        weak=weak,
        class_of=classes,
    )


def _normalization(plan: StagePlan) -> Normalization:
    """The statistics of the training, or those of the set at hand before the stage has saved anything."""
    if has_checkpoint(plan.workdir, plan.name):
        width = sum(plan.trained_on.streams[s] for s in plan.streams)
        return statistics.read(plan.workdir / plan.name / NORMALIZATION, width)
    return statistics.measure(plan.training, plan.streams)


def _turning(plan: StagePlan) -> Augmentation:
    """The augmentation with the devices that it turns, those found in training where the stage has saved anything."""
    augmentation = augmentation_of(plan.section.data, f"stages.{plan.name}.data")
    if not augmentation.turns:
        return augmentation
    path = plan.workdir / plan.name / TRIAXIAL
    if has_checkpoint(plan.workdir, plan.name) and path.exists():
        turning = sensor_axes.read(path, sum(plan.trained_on.streams[s] for s in plan.streams))
    else:
        turning = sensor_axes.find_devices(plan.config.data.triaxial, plan.training, plan.streams)
    return dataclasses.replace(augmentation, triaxial=turning)
