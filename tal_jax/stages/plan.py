"""From a config and the indexes of its set to the plan of a stage: all that can be known before other stages have run.

Here a config enters the stages; behind this, a stage carries what it needs of it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tal_jax.data import provenance
from tal_jax.data.augmentation import Augmentation
from tal_jax.data.dataset import Metadata, Split
from tal_jax.data.framing import choose_framing
from tal_jax.data.holdout import is_every_nth
from tal_jax.errors import InputError
from tal_jax.sensors import axes as sensor_axes
from tal_jax.stages.methods import build_task
from tal_jax.stages.recordings import Recordings, held_out_digest, open_recordings
from tal_jax.stages.remembered import read_held_out, read_set
from tal_jax.stages.sections import Config, DataSection, FrameSection, StageSection
from tal_jax.stages.workdir import has_checkpoint
from tal_jax.tasks.task import IMAGES, PROPOSALS, Task
from tal_jax.windows import Framing
from tal_jax.words import hint


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """What a stage will be, known from its config and the indexes of its set alone."""

    config: Config  # of its track
    workdir: Path  # of its track
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


def plan_stage(config: Config, name: str, workdir: Path, *, anew: bool = False) -> StagePlan:
    """Checks all that can be known of a stage before the stages before it have run.

    Args:
      config: the config of the track.
      name: the stage's name.
      workdir: the folder of the track.
      anew: the stage will be trained from its first step, so that the set it was trained on before does not count.

    Raises:
      InputError: something is wrong with the config or the set, or they do not fit together.
    """
    section, where = section_of(config, name), f"stages.{name}"
    _check_numbers(config, section, where)
    recordings = open_recordings(config.data, section)
    training = recordings.training
    metadata = training.metadata.without_segments() if section.kind.weak else training.metadata
    begun_with = None if anew else read_set(workdir, name)
    trained_on, longest = begun_with or (metadata, recordings.longest)
    streams = _streams_in_use(config.data, metadata, trained_on)
    _check_kind(config, section, metadata, streams)
    framing = _framing(section, trained_on, longest, where)
    selected = dataclasses.replace(trained_on, streams={s: trained_on.streams[s] for s in streams})
    task = build_task(section, selected, framing, where)
    augmentation = augmentation_of(section.data, f"{where}.data")
    if augmentation.turns and config.data.triaxial:
        sensor_axes.named_devices(config.data.triaxial, metadata.streams, streams)
    return StagePlan(config, workdir, name, section, recordings, trained_on, longest, streams, framing, task)


def _check_numbers(config: Config, section: StageSection, where: str) -> None:
    """Raises InputError where a number that every stage has makes no sense."""
    if not 0 <= section.splice <= 1:
        raise InputError(f"config: {where}.splice is a share of the training rows, 0 to 1, not {section.splice}")
    counts = {
        f"{where}.steps": section.steps,
        f"{where}.batch_size": section.batch_size,
        "log_every_steps": config.log_every_steps,
        "checkpoint.every_steps": config.checkpoint.every_steps,
        **({f"{where}.data.proposals": section.data.proposals} if PROPOSALS in section.needs else {}),
    }
    for key, count in counts.items():
        if count < 1:
            raise InputError(f"config: {key} is {count}: expected 1 or more")


def _framing(section: StageSection, trained_on: Metadata, longest: int, where: str) -> Framing:
    """The frame that the method decides, or that suits the set. Raises InputError: a value is out of range."""
    snippets = method_snippets(section, where)
    if snippets is not None:
        return Framing("resize", snippets)
    return choose_framing(trained_on, longest, **section.data.framing_fields())


def method_snippets(section: StageSection, where: str) -> int | None:
    """T, where the method and not the data decide it. Raises InputError: a value is out of range."""
    try:
        return section.kind.snippets(section.model, section.settings)
    except (ValueError, TypeError, KeyError) as e:
        raise InputError(f"config: {where}: {e}") from e


def _check_kind(config: Config, section: StageSection, metadata: Metadata, streams: Sequence[str]) -> None:
    """Raises InputError where a method of features gets images of clips, or one of images gets features or several."""
    images = section.kind.learns_from == IMAGES
    if metadata.packed and not images:
        raise InputError(
            f"{config.data.dir}: holds images, by launch.pack, and {section.task!r} learns from features: make some "
            "with launch.encode, and prepare these"
        )
    if images and not metadata.packed:
        raise InputError(f"{config.data.dir}: holds features, and {section.task!r} learns from images: see launch.pack")
    changed = [f.name for f in dataclasses.fields(section.data) if getattr(section.data, f.name) != f.default]
    if images and changed:
        raise InputError(
            f"config: data.{changed[0]} of a stage: is of features, and {section.task!r} sees images: leave it out"
        )
    if images and (len(streams) != 1 or config.data.normalize):
        raise InputError(
            f"config: data.streams, data.normalize: {section.task!r} sees one stream of {', '.join(metadata.streams)}, "
            "whose images its encoder normalises"
        )


def section_of(config: Config, name: str) -> StageSection:
    """The section of a stage. Raises InputError where the config has no stage of this name."""
    if name not in config.stages:
        raise InputError(f"config: no stage {name!r}: {hint(name, config.stages)}")
    return config.stages[name]


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


def check_classes(plan: StagePlan) -> None:
    """Raises InputError where the set has other classes than the one trained on: nothing to measure the stage by."""
    if plan.training.metadata.labels != plan.trained_on.labels:
        raise InputError(
            f"{plan.training.directory}: its classes are not those that stage {plan.name} was trained with, and it is "
            "measured on the set that it was trained on: give that one, or detect and evaluate with --data"
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
    _check_encoders(data, {s: metadata.encoders.get(s) for s in streams}, trained_on)
    if any(metadata.streams[s] != trained_on.streams.get(s) for s in streams):
        raise InputError(
            f"{data.dir}: streams {dict(metadata.streams)} are not those of the training, {trained_on.streams}: "
            "prepare the same features"
        )
    return streams


def _check_encoders(data: DataSection, own: Mapping[str, Any], trained_on: Metadata) -> None:
    """Raises InputError where features are not of the encoder that they were of in training, unless accepted."""
    for stream, known in trained_on.encoders.items():
        if data.accept_encoders or stream not in own:
            continue
        if (found := own[stream]) is None:
            differ = f"no {provenance.NAME} said what its features are"
        elif not (differ := provenance.differences(known, found)):
            continue
        raise InputError(
            f"{data.dir}: stream {stream!r} is not of the encoder that the stage was trained with: {differ}: encode "
            "the videos in the same way, or insist with --config.data.accept_encoders=true (detect: --accept=encoder)"
        )


def augmentation_of(frame: FrameSection, where: str) -> Augmentation:
    """The augmentation of a section. Raises InputError for an amount that is negative or NaN."""
    names = [f.name for f in dataclasses.fields(Augmentation) if f.name != "triaxial"]
    amounts = {name: getattr(frame, name) for name in names}
    for key, amount in amounts.items():
        if not amount >= 0:
            raise InputError(f"config: {where}.{key} is {amount}: expected 0 or more")
    return Augmentation(**amounts)
