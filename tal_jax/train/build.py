"""From a config and a prepared set to the objects of a stage. Below this file nobody sees a config."""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from tal_jax.data.assembler import Assembler
from tal_jax.data.dataset import Metadata, Split, open_split
from tal_jax.data.framing import choose_framing, long_action_snippets
from tal_jax.data.proposals import read as read_proposals
from tal_jax.data.proposals import read_class_scores
from tal_jax.data.statistics import load_or_measure
from tal_jax.errors import InputError
from tal_jax.models.bmn import BMN
from tal_jax.models.classifier import VideoClassifier
from tal_jax.models.tcanet import TCANet
from tal_jax.tasks.bmn import BMNTask
from tal_jax.tasks.classifier import ClassifierTask
from tal_jax.tasks.task import Task
from tal_jax.tasks.tcanet import TCANetTask
from tal_jax.train.workdir import begun, remember_data

TASKS: dict[str, tuple[type, type]] = {
    "bmn": (BMNTask, BMN),
    "tcanet": (TCANetTask, TCANet),
    "classifier": (ClassifierTask, VideoClassifier),
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
PROPOSALS = "proposals.parquet"  # what a bmn stage hands on
CLASS_SCORES = "class_scores.parquet"  # what a classifier stage hands on


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


def checked(section: Mapping[str, Any], allowed: Any, where: str) -> dict[str, Any]:
    """The section as keyword arguments for a dataclass, or for a given set of names.

    Raises:
      InputError: a key the target does not know; suggests the nearest.
    """
    names = sorted(allowed if isinstance(allowed, (set, frozenset)) else _fields(allowed))
    for key in section:
        if key not in names:
            close = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(names)}"
            raise InputError(f"config: {where}.{key}: no such key: {hint}")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in section.items()}


def _fields(target: type) -> set[str]:
    return {f.name for f in dataclasses.fields(target) if f.name not in ("parent", "name", "model")}


def build_task(stage: Mapping[str, Any], metadata: Metadata, scale: float, where: str) -> Task:
    """Model and task of a stage; what is 0 in the config comes from the data.

    Args:
      stage: the stage's section.
      metadata: of the prepared set.
      scale: stored snippets per frame snippet.
      where: the section's name, for messages.

    Raises:
      InputError: unknown kind, unknown key, or a value that does not fit.
    """
    kind = stage.get("task")
    if kind not in TASKS:
        raise InputError(f"config: {where}.task is one of {', '.join(sorted(TASKS))}, not {kind!r}")
    task_type, model_type = TASKS[kind]
    model = checked(stage.get("model", {}), model_type, f"{where}.model")
    options = checked(stage.get("options", {}), task_type, f"{where}.options")
    if "dtype" in model:
        if model["dtype"] not in DTYPES:
            raise InputError(f"config: {where}.model.dtype is 'float32' or 'bfloat16', not {model['dtype']!r}")
        model["dtype"] = DTYPES[model["dtype"]]
    if kind == "bmn" and not model.get("durations"):
        # A tenth more than the long training actions: new recordings hold longer ones.
        model["durations"] = max(4, math.ceil(1.1 * long_action_snippets(metadata) / scale))
    if kind == "classifier" or (kind == "tcanet" and options.get("classes", "head") != "video"):
        model.setdefault("num_classes", len(metadata.labels))
    try:
        return task_type(model=model_type(**model), **options)
    except (ValueError, TypeError) as e:
        raise InputError(f"config: {where}: {e}") from e


DATA_KEYS = {
    "mode", "snippets", "scale", "overlap", "keep", "longest_action", "max_snippets", "proposals", "train_proposals",
    "min_seconds", "stride_jitter", "gain", "noise", "around_actions",
}  # fmt: skip
STAGE_KEYS = {
    "task", "model", "options", "data", "optimizer", "steps", "batch_size", "eval_every_steps", "ema_decay",
    "proposals", "class_scores",
}  # fmt: skip
CONFIG_KEYS = {"seed", "track", "stages", "data", "checkpoint", "log_every_steps"}
SHARED_DATA_KEYS = {"dir", "streams", "train_split", "eval_split", "holdout", "normalize"}


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

    training = open_split(shared["dir"], shared["train_split"])
    metadata = training.metadata
    streams = tuple(shared["streams"]) or tuple(metadata.streams)
    for stream in streams:
        if stream not in metadata.streams:
            raise InputError(f"config: data.streams: no stream {stream!r} in {shared['dir']}: {list(metadata.streams)}")
    evaluation, train_index, eval_index = training, np.arange(len(training)), np.arange(0)
    if shared["holdout"] > 0:
        # Every n-th recording is held out: a function of the ids' order alone.
        every = max(2, round(1 / shared["holdout"]))
        eval_index, train_index = train_index[::every], np.delete(train_index, np.s_[::every])
    elif shared["eval_split"] in metadata.splits:
        evaluation = open_split(shared["dir"], shared["eval_split"])
        eval_index = np.arange(len(evaluation))

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
        **{k: frame[k] for k in ("mode", "snippets", "scale", "overlap", "keep", "longest_action", "max_snippets")},
    )
    task = build_task(stage, trained_on, framing.scale, where)
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

    normalization = None
    if shared["normalize"]:
        path = workdir / name / "normalization.npz"
        if not begun(workdir, name):
            path.unlink(missing_ok=True)  # of an attempt that never saved, perhaps on other data
        normalization = load_or_measure(path, training, streams)
    assembler = Assembler(
        framing=framing,
        streams=streams,
        width=sum(metadata.streams[s] for s in streams),
        num_classes=len(trained_on.labels),
        max_segments=max(trained_on.segments_per_recording, 1),
        max_proposals=frame["proposals"] if proposals is not None else 0,
        train_proposals=frame.get("train_proposals", 0),
        normalization=normalization,
        proposals=proposals,
        class_scores=class_scores,
        min_seconds=frame.get("min_seconds", 0.0),
        stride_jitter=frame.get("stride_jitter", 0.0),
        gain=frame.get("gain", 0.0),
        noise=frame.get("noise", 0.0),
        around_actions=frame.get("around_actions", 0.75),
    )
    return Stage(name, kind, task, trained_on, training, evaluation, assembler, train_index, eval_index)


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
