"""From a config and a prepared set to a stage: its recordings, its task, and how a recording becomes a row.

Nothing here writes: what a stage remembers is written under the lock of a training, by `remember`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tal_jax.data import normalization as statistics
from tal_jax.data import sensor_axes
from tal_jax.data.augmentation import Augmentation
from tal_jax.data.dataset import Metadata, Split
from tal_jax.data.framing import choose_framing
from tal_jax.data.holdout import is_every_nth
from tal_jax.data.rows import Assembler
from tal_jax.errors import InputError
from tal_jax.stages.artifacts import Artifact, check_inputs, check_set, read_artifact, write_inputs
from tal_jax.stages.config import parse
from tal_jax.stages.methods import build_task
from tal_jax.stages.recordings import Recordings, held_out_digest, open_recordings
from tal_jax.stages.sections import Config, DataSection, FrameSection, StageSection
from tal_jax.stages.workdir import has_checkpoint, newest_step, read_held_out, read_set, write_set
from tal_jax.tasks.task import CLASS_SCORES, OF_RECORDINGS, PROPOSALS, Task
from tal_jax.windows import Framing, Normalization
from tal_jax.words import hint

NORMALIZATION, TRIAXIAL = "normalization.npz", "triaxial.json"


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """What a stage will be, known from its config and the indexes of its set alone."""

    name: str
    section: StageSection
    recordings: Recordings
    trained_on: Metadata  # of the set that the stage was, or is to be, trained on
    longest: int  # stored snippets of that set's longest recording
    streams: tuple[str, ...]  # in use
    framing: Framing
    task: Task

    @property
    def training(self) -> Split:
        """The split to learn from, of which `recordings.train_index` are used."""
        return self.recordings.training

    @property
    def on_its_own_set(self) -> bool:
        """Whether the set at hand is the one that it was, or is to be, trained on."""
        return self.trained_on.is_set_of(self.training.metadata)


@dataclasses.dataclass(frozen=True)
class Stage(StagePlan):
    """Everything a stage needs, ready to run."""

    assembler: Assembler
    artifacts: Mapping[str, Artifact]  # that go into its rows, by name


def plan_stage(config: Config | Mapping[str, Any], name: str, workdir: Path, *, anew: bool = False) -> StagePlan:
    """Checks all that can be known of a stage before the stages before it have run.

    Args:
      config: the config of the track.
      name: the stage's name.
      workdir: the folder of the track.
      anew: the stage will be trained from its first step, so that the set it was trained on before does not count.

    Raises:
      InputError: something is wrong with the config or the set, or they do not fit together.
    """
    config = parse(config)
    section, where = section_of(config, name), f"stages.{name}"
    if not 0 <= section.splice <= 1:
        raise InputError(f"config: {where}.splice is a share of the training rows, 0 to 1, not {section.splice}")
    recordings = open_recordings(config.data, section)
    training = recordings.training
    metadata = training.metadata.without_segments() if section.kind.weak else training.metadata
    begun_with = None if anew else read_set(workdir, name)
    trained_on, longest = begun_with or (metadata, recordings.longest)
    streams = _streams_in_use(config.data, metadata, trained_on)
    framing = choose_framing(trained_on, longest, **section.data.framing_fields())
    selected = dataclasses.replace(trained_on, streams={s: trained_on.streams[s] for s in streams})
    task = build_task(section, selected, framing, where)
    augmentation = _augmentation(section.data, f"{where}.data")
    if augmentation.turns and config.data.triaxial:
        sensor_axes.triaxial_channels(config.data.triaxial, training, streams)  # named: nothing is looked at
    return StagePlan(name, section, recordings, trained_on, longest, streams, framing, task)


def build_stage(config: Config | Mapping[str, Any], name: str, workdir: Path) -> Stage:
    """Opens the data, reads the artifacts of earlier stages, and builds model and task.

    Arguments as of `plan_stage`.

    Raises:
      InputError: as of `plan_stage`; or an artifact is missing, or was made from another set or with other parameters
        than the one that the stage was trained with.
    """
    config = parse(config)
    plan = plan_stage(config, name, workdir)
    artifacts = _artifacts(config, plan, workdir)
    assembler = _assembler(config, plan, artifacts, workdir)
    return Stage(**vars(plan), assembler=assembler, artifacts=artifacts)


def section_of(config: Config, name: str) -> StageSection:
    """The section of a stage. Raises InputError where the config has no stage of this name."""
    if name not in config.stages:
        raise InputError(f"config: no stage {name!r}: {hint(name, config.stages)}")
    return config.stages[name]


def remember(stage: Stage, workdir: Path) -> None:
    """Writes what a stage has to know again when it goes on, or detects; under the lock of a training.

    Args:
      stage: a stage that has saved nothing yet, with the rows that it will be trained on.
      workdir: the folder of the track.
    """
    write_set(workdir, stage.name, stage.trained_on, stage.longest, held_out_digest(stage.recordings))
    folder, assembler = workdir / stage.name, stage.assembler
    for file in (NORMALIZATION, TRIAXIAL):
        (folder / file).unlink(missing_ok=True)  # of an attempt that never saved, perhaps on other data
    if assembler.normalization is not None:
        statistics.write(folder / NORMALIZATION, assembler.normalization)
    if assembler.augmentation.turns:
        sensor_axes.write(folder / TRIAXIAL, assembler.augmentation.triaxial)
    write_inputs(workdir, stage.name, stage.artifacts)


def check_held_out(recordings: Recordings, data: DataSection, name: str, workdir: Path) -> None:
    """Compares the recordings that are held out now with those that a stage did not learn from.

    Args:
      recordings: the splits of the stage, and positions in them.
      data: the section of the config that says what is held out.
      name: the stage's name.
      workdir: the folder of the track.

    Raises:
      InputError: they are others, so that a stage would be measured on what it has learned from.
    """
    if not has_checkpoint(workdir, name):
        return
    before = read_held_out(workdir, name)
    # Older workdirs do not say; theirs are the same for every n-th recording alone.
    same = before == held_out_digest(recordings) if before else bool(data.holdout_ids) or is_every_nth(data.holdout)
    if not same:
        raise InputError(
            f"{workdir}: stage {name} did not hold out the recordings that data.holdout={data.holdout:g} means now: "
            "train it anew in another --workdir"
        )


def with_dataset(config: Config, directory: str, split: str) -> Config:
    """The config of a training, made to read another prepared set, which need not have a training split.

    Args:
      config: the config of the track.
      directory: the folder of the other set.
      split: the name of the split that will be read there.
    """
    data = dataclasses.replace(
        config.data, dir=directory, train_split=split, eval_split=split, holdout=0.0, holdout_ids=()
    )
    return dataclasses.replace(config, data=data)


def _streams_in_use(data: DataSection, metadata: Metadata, trained_on: Metadata) -> tuple[str, ...]:
    """Raises InputError where the set lacks a stream, or one is not as wide as the config, or the training, says."""
    streams = data.streams or tuple(metadata.streams)
    for stream in streams:
        if stream not in metadata.streams:
            known = hint(stream, metadata.streams)
            raise InputError(f"config: data.streams: no stream {stream!r} in {data.dir}: {known}")
        width = metadata.streams[stream]
        if data.widths.get(stream, width) != width:
            raise InputError(
                f"{data.dir}: stream {stream!r} has {width} channels, not the {data.widths[stream]} of the config: "
                f"prepare that encoder's features, or say what they have with --config.data.widths.{stream}={width}"
            )
    if any(metadata.streams[s] != trained_on.streams.get(s) for s in streams):
        raise InputError(
            f"{data.dir}: streams {dict(metadata.streams)} are not those of the training, {trained_on.streams}: "
            "prepare the same features"
        )
    return streams


def _artifacts(config: Config, plan: StagePlan, workdir: Path) -> dict[str, Artifact]:
    """The artifacts that go into the rows of recordings, by name."""
    names = [name for name in plan.section.needs if name in OF_RECORDINGS]
    labels = plan.trained_on.labels
    found = {name: read_artifact(config, plan.name, name, workdir, labels) for name in names}
    if newest_step(workdir, plan.name):  # what was converted has learned from none of them
        check_inputs(workdir, plan.name, found)
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


def _assembler(config: Config, plan: StagePlan, artifacts: Mapping[str, Artifact], workdir: Path) -> Assembler:
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
        normalization=_normalization(plan, workdir) if config.data.normalize else None,
        proposals=values.get(PROPOSALS),
        class_scores=values.get(CLASS_SCORES),
        min_seconds=frame.min_seconds,
        stride_jitter=frame.stride_jitter,
        augmentation=_turning(config, plan, workdir),
        around_actions=frame.around_actions,
        weak=weak,
    )


def _normalization(plan: StagePlan, workdir: Path) -> Normalization:
    """The statistics of the training, or those of the set at hand before the stage has saved anything."""
    if has_checkpoint(workdir, plan.name):
        return statistics.read(workdir / plan.name / NORMALIZATION)
    return statistics.measure(plan.training, plan.streams)


def _turning(config: Config, plan: StagePlan, workdir: Path) -> Augmentation:
    """The augmentation with the channels that it turns, those found in training where the stage has saved anything."""
    augmentation = _augmentation(plan.section.data, f"stages.{plan.name}.data")
    if not augmentation.turns:
        return augmentation
    path = workdir / plan.name / TRIAXIAL
    if has_checkpoint(workdir, plan.name) and path.exists():
        channels = sensor_axes.read(path)
    else:
        channels = sensor_axes.triaxial_channels(config.data.triaxial, plan.training, plan.streams)
    return dataclasses.replace(augmentation, triaxial=channels)


def _augmentation(frame: FrameSection, where: str) -> Augmentation:
    """The augmentation of a section. Raises InputError for an amount that is negative or NaN."""
    names = [f.name for f in dataclasses.fields(Augmentation) if f.name != "triaxial"]
    amounts = {name: getattr(frame, name) for name in names}
    for key, amount in amounts.items():
        if not amount >= 0:
            raise InputError(f"config: {where}.{key} is {amount}: expected 0 or more")
    return Augmentation(**amounts)
