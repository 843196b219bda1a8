"""From a config and a prepared set to the objects of a stage. Below this file nobody sees a config."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.data.augmentation import Augmentation
from tal_jax.data.class_scores import read as read_class_scores
from tal_jax.data.clip_features import read as read_knowledge
from tal_jax.data.dataset import Metadata, Split, open_split, read_metadata
from tal_jax.data.framing import choose_framing
from tal_jax.data.holdout import hold_out, hold_out_ids, without
from tal_jax.data.normalization import load_or_measure
from tal_jax.data.proposals import read as read_proposals
from tal_jax.data.rows import Assembler, Clips
from tal_jax.data.sensor_axes import load_or_detect
from tal_jax.data.splicing import Splicer
from tal_jax.errors import InputError
from tal_jax.stages.config import (
    AUGMENTATION_KEYS,
    CONFIG_KEYS,
    DATA_KEYS,
    FRAMING_KEYS,
    SHARED_DATA_KEYS,
    STAGE_KEYS,
    checked,
)
from tal_jax.stages.methods import WEAK, build_task
from tal_jax.stages.workdir import begun, remember_data
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.tasks.task import Task
from tal_jax.tasks.tcanet import TCANetTask

PROPOSALS = "proposals.parquet"  # what a bmn stage hands on
CLASS_SCORES = "class_scores.parquet"  # what a classifier stage hands on
KNOWLEDGE = "knowledge.parquet"  # what a trimmed stage hands on
CLIPS = "clips"  # the split of trimmed clips


@dataclasses.dataclass(frozen=True)
class Stage:
    """Everything a stage needs, ready to run."""

    name: str
    kind: str  # a key of TASKS
    task: Task
    trained_on: Metadata  # of the set that the stage was, or is to be, trained on
    training: Split
    evaluation: Split | None
    assembler: Assembler
    train_index: np.ndarray  # positions in `training` to learn from
    eval_index: np.ndarray  # positions in `evaluation` for the periodic evaluation


def build_stage(config: Mapping[str, Any], name: str, workdir: Path) -> Stage:
    """Opens the data, joins what earlier stages handed on, and builds model and task.

    Args:
      config: plain nested values (`config.to_dict()`).
      name: of the stage.
      workdir: with the folders of the stages before.

    Raises:
      InputError: anything wrong with the config or the data.
    """
    checked(config, CONFIG_KEYS, "config")
    stages = config["stages"]
    if name not in stages:
        raise InputError(f"config: no stage {name!r}: it has {', '.join(stages)}")
    stage, where = stages[name], f"stages.{name}"
    checked(stage, STAGE_KEYS, where)
    frame = checked(stage["data"], DATA_KEYS, f"{where}.data")
    shared = checked(config["data"], SHARED_DATA_KEYS, "data")
    if not shared["dir"]:
        raise InputError("config: data.dir is empty: give the prepared set with --config.data.dir=DATA")

    weak = stage["task"] in WEAK
    trimmed = stage["task"] == "trimmed"
    training = _open_clips(shared["dir"]) if trimmed else open_split(shared["dir"], shared["train_split"])
    metadata = training.metadata.without_segments() if weak else training.metadata
    streams = tuple(shared["streams"]) or tuple(metadata.streams)
    _check_streams(streams, shared.get("widths") or {}, metadata, shared["dir"])
    evaluation, train_index, eval_index = training, np.arange(len(training)), np.arange(0)
    patterns = tuple(shared.get("holdout_ids", ()))
    if patterns and not trimmed:
        train_index, eval_index = hold_out_ids(training, patterns)
    elif shared["holdout"] > 0:
        train_index, eval_index = hold_out(len(training), shared["holdout"])
    elif shared["eval_split"] in metadata.splits and not trimmed:
        evaluation = open_split(shared["dir"], shared["eval_split"])
        eval_index = np.arange(len(evaluation))

    if trimmed:
        train_index = without(training, train_index, patterns)
    longest = int(max(training.num_snippets.max(), evaluation.num_snippets.max()))
    trained_on, longest = remember_data(workdir, name, metadata, longest)
    if any(metadata.streams[s] != trained_on.streams.get(s) for s in streams):
        raise InputError(
            f"{shared['dir']}: streams {dict(metadata.streams)} are not those of the training, {trained_on.streams}: "
            "prepare the same features"
        )
    framing = choose_framing(
        trained_on,
        longest,
        **{k: frame[k] for k in FRAMING_KEYS},
    )
    selected = dataclasses.replace(trained_on, streams={s: trained_on.streams[s] for s in streams})
    task = build_task(stage, selected, framing, where)
    kind = stage["task"]

    proposals = None
    if kind == "tcanet":
        path = _handed_on(stage.get("proposals"), config, "bmn", PROPOSALS, workdir, f"{where}.proposals")
        proposals = read_proposals(path)
    class_scores = None
    if isinstance(task, TCANetTask) and task.classes != "head":
        path = _handed_on(
            stage.get("class_scores"), config, "classifier", CLASS_SCORES, workdir, f"{where}.class_scores"
        )
        class_scores = read_class_scores(path, trained_on.labels)

    statistics, turning = workdir / name / "normalization.npz", workdir / name / "triaxial.json"
    if not begun(workdir, name):
        for path in (statistics, turning):
            path.unlink(missing_ok=True)  # of an attempt that never saved, perhaps on other data
    normalization = load_or_measure(statistics, training, streams) if shared["normalize"] else None
    augmentation = _augmentation(frame, f"{where}.data")
    if augmentation.turns:
        channels = load_or_detect(turning, shared.get("triaxial", ()), training, streams)
        augmentation = dataclasses.replace(augmentation, triaxial=channels)
    assembler = Assembler(
        framing=framing,
        streams=streams,
        width=sum(metadata.streams[s] for s in streams),
        num_classes=len(trained_on.labels),
        max_segments=0 if weak else max(trained_on.segments_per_recording, 1),
        max_proposals=frame["proposals"] if proposals is not None else 0,
        train_proposals=frame.get("train_proposals", 0),
        normalization=normalization,
        proposals=proposals,
        class_scores=class_scores,
        min_seconds=frame.get("min_seconds", 0.0),
        stride_jitter=frame.get("stride_jitter", 0.0),
        augmentation=augmentation,
        around_actions=frame.get("around_actions", 0.75),
        weak=weak,
    )
    return Stage(name, kind, task, trained_on, training, evaluation, assembler, train_index, eval_index)


def _augmentation(frame: Mapping[str, Any], where: str) -> Augmentation:
    """Raises InputError for what is no amount."""
    amounts = {key: frame[key] for key in AUGMENTATION_KEYS if key in frame}
    for key, amount in amounts.items():
        if not amount >= 0:
            raise InputError(f"config: {where}.{key} is {amount}: expected 0 or more")
    return Augmentation(**amounts)


def _check_streams(streams: tuple[str, ...], widths: Mapping[str, int], metadata: Metadata, directory: str) -> None:
    """Raises InputError where the set lacks a stream, or one is not as wide as the config says; it need not say."""
    for stream in streams:
        if stream not in metadata.streams:
            raise InputError(f"config: data.streams: no stream {stream!r} in {directory}: {list(metadata.streams)}")
        width = metadata.streams[stream]
        if widths.get(stream, width) != width:
            raise InputError(
                f"{directory}: stream {stream!r} has {width} channels, not the {widths[stream]} of the config: prepare "
                f"that encoder's features, or say what they have with --config.data.widths.{stream}={width}"
            )


def _open_clips(directory: str) -> Split:
    """The trimmed clips of a set. Raises InputError where there are none."""
    if CLIPS not in read_metadata(directory).splits:
        raise InputError(
            f"{directory}: holds no clips to learn from: prepare it with --clips=C.json --clip_features=NAME=DIR, or "
            "take a row without transfer (:ccm)"
        )
    return open_split(directory, CLIPS)


def elsewhere(config: dict[str, Any], directory: str, split: str) -> None:
    """Makes a trained config read another prepared set, in place: one that need not have a training split."""
    config["data"].update(dir=directory, train_split=split, eval_split=split, holdout=0.0, holdout_ids=())


def _handed_on(given: str | None, config: Mapping[str, Any], kind: str, file: str, workdir: Path, key: str) -> Path:
    """The file a stage takes its input from: the config's, or that of the track's stage of the given kind."""
    if given:
        return Path(given)
    for name in config["track"]:
        if config["stages"][name]["task"] == kind:
            path = workdir / name / file
            if not path.exists():
                raise InputError(f"{path}: missing: run stage {name!r} first, or give a file with --config.{key}=FILE")
            return path
    raise InputError(f"config: no stage of kind {kind!r} in the track: give a file with --config.{key}=FILE")


def with_clips(stage: Stage, config: Mapping[str, Any], workdir: Path) -> Stage:
    """The stage as it is to be trained: where it learns from clips, they are spliced into some of its rows, and its
    rows carry one and what is known about it.

    Raises:
      InputError: the set has no clips, or the trimmed branch has not been trained.
    """
    section = config["stages"][stage.name]
    if stage.kind != "mgfn" or not isinstance(stage.task, MGFNTask):
        return stage
    share = section.get("splice", 0.0)
    if not 0 <= share <= 1:
        raise InputError(f"config: stages.{stage.name}.splice is a share of the training rows, 0 to 1, not {share}")
    if not stage.task.mmd_weight and not share:
        return stage
    split = _open_clips(config["data"]["dir"])
    index, _ = hold_out(len(split), config["data"]["holdout"])
    index = without(split, index, config["data"].get("holdout_ids", ()))
    assembler = stage.assembler
    if share:
        splicer = Splicer(split, index, assembler.streams, assembler.framing, share)
        assembler = dataclasses.replace(assembler, splicer=splicer)
    if stage.task.mmd_weight:
        assembler = dataclasses.replace(assembler, clips=_clips(stage, config, workdir, split, index))
    return dataclasses.replace(stage, assembler=assembler)


def _clips(stage: Stage, config: Mapping[str, Any], workdir: Path, split: Split, index: np.ndarray) -> Clips:
    """The clips that training rows carry: those whose knowledge the trimmed branch has handed on."""
    section = config["stages"][stage.name]
    key = f"stages.{stage.name}.trimmed"
    path = _handed_on(section.get("trimmed"), config, "trimmed", KNOWLEDGE, workdir, key)
    known = read_knowledge(path)
    index = index[[str(id) in known for id in split.ids[index]]]
    sections = config["stages"].values()
    frame = next((s["data"] for s in sections if s["task"] == "trimmed"), section["data"])
    frame = checked(frame, DATA_KEYS, "stages.trimmed.data")
    framing = choose_framing(
        split.metadata.without_segments(), int(split.num_snippets.max()), **{k: frame[k] for k in FRAMING_KEYS}
    )
    clip = dataclasses.replace(stage.assembler, framing=framing, knowledge=known)
    return Clips(split, index, clip)
