"""The plan of a whole track: which of its stages are to run, with all of them checked before the first one trains."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tal_jax.errors import InputError
from tal_jax.stages.artifacts import check_set, made_file, read_artifact, read_made, written_again
from tal_jax.stages.config import parse
from tal_jax.stages.plan import StagePlan, check_held_out, plan_stage
from tal_jax.stages.recordings import open_clips
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import complete_stage
from tal_jax.stages.tuned_decoding import tuned
from tal_jax.stages.workdir import check_config, finished, has_checkpoint
from tal_jax.words import hint


@dataclasses.dataclass(frozen=True)
class TrackPlan:
    """What a training will do."""

    config: Config
    workdir: Path
    names: tuple[str, ...]  # of the stages that were asked for, in order
    running: Mapping[str, StagePlan]  # those of them that are to run, in order
    done: frozenset[str]  # those that are finished, and belong to this config and set
    again: str  # the stage that is finished and runs once more, "" without any


def plan_track(config: Config | Mapping[str, Any], workdir: Path, stage: str = "") -> TrackPlan:
    """Checks every stage that is to run, and that finished ones belong to this config and set.

    Args:
      config: the config of the track, or its nested values.
      workdir: the folder of the track.
      stage: the only stage to run; "" runs the whole track.

    Raises:
      InputError: something is wrong with the config, the set or a file, so far as it can be known before training.
    """
    config = parse(config)
    if stage and stage not in config.track:
        raise InputError(f"--stage={stage}: no such stage: {hint(stage, config.track, 'the track is')}")
    names = (stage,) if stage else config.track
    if not names:
        raise InputError("config: track: names no stage")
    anew = bool(stage) and finished(workdir, stage)  # its folder will be moved away
    if not anew:
        check_config(config, workdir, names)
    wanted = [name for name in names if name == stage or needed(config, name)]
    done = frozenset(name for name in names if finished(workdir, name) and not anew)
    running: dict[str, StagePlan] = {}
    for name in wanted:
        plan = plan_stage(config, name, workdir, anew=anew)
        if not plan.on_its_own_set:
            raise InputError(
                f"{workdir}: stage {name} was begun with another data set than {plan.training.directory}: give the "
                f"one it had with --config.data.dir, or remove {workdir / name} to train it anew"
            )
        if plan.section.splice and name not in done:
            open_clips(config.data)
        if not anew:
            check_held_out(plan.recordings, config.data, name, workdir)
        if name in done:
            check_finished(plan, running)
        else:
            _check_artifacts(plan, running)
            running[name] = plan
    return TrackPlan(config, workdir, tuple(names), running, done, stage if anew else "")


def needed(config: Config, name: str) -> bool:
    """Whether another stage of the track needs what the stage `name` makes, or it is the user who wants it.

    A stage whose artifact is replaced by files that the config names is not needed.
    """
    made = config.stages[name].kind.makes
    others = [config.stages[other] for other in config.track if other != name]
    takers = [section for section in others if made in section.kind.accepts]
    return not takers or any(made in section.needs and not section.files.get(made) for section in takers)


def check_finished(plan: StagePlan, running: Mapping[str, StagePlan]) -> None:
    """Reads what detection reads of a finished stage, so that a training does not call done what cannot be used.

    Args:
      plan: the plan of the stage.
      running: the stages before it that are to run.

    Raises:
      InputError: a file is missing, damaged, or of another training or set; the text says how to get it back.
    """
    folder = plan.workdir / plan.name
    if not has_checkpoint(plan.workdir, plan.name):
        raise InputError(
            f"{folder}: finished, but without a checkpoint: restore the folder, or remove it to train anew"
        )
    makes = {other.task.makes for other in running.values()}
    if not makes & set(plan.section.needs):  # they are to make what it takes anew
        complete_stage(plan)
    tuned(plan.task, plan.workdir, plan.name)
    made = plan.task.makes
    if made:
        path = made_file(folder, made)
        if not path.exists():
            raise InputError(f"{path}: missing: {written_again(plan.workdir, plan.name)}")
        check_set(read_made(path, made, plan.trained_on.labels), plan.training.metadata, plan.training.directory)


def _check_artifacts(plan: StagePlan, running: Mapping[str, StagePlan]) -> None:
    """Reads what a stage takes, unless one of the stages that run before it will make it.

    Raises:
      InputError: it is missing, damaged or of another set, or the stage that makes it comes later; or a file is given
        that the stage would not read with its settings.
    """
    config = plan.config
    for artifact, file in plan.section.files.items():
        if file and artifact not in plan.section.needs:
            raise InputError(
                f"config: stages.{plan.name}.{artifact}={file}: with its settings the stage takes no "
                f"{artifact.replace('_', ' ')}: leave the file out, or change the settings"
            )
    before = config.track[: config.track.index(plan.name)]
    for artifact in plan.section.needs:
        given = plan.section.files.get(artifact)
        makers = [name for name in config.track if config.stages[name].kind.makes == artifact and name != plan.name]
        if not given and makers and makers[0] not in before:
            raise InputError(f"config: track: stage {makers[0]!r} makes what {plan.name!r} takes: name it before")
        if not given and makers and makers[0] in running:
            continue
        found = read_artifact(config, plan.name, artifact, plan.workdir, plan.trained_on.labels)
        check_set(found, plan.training.metadata, plan.training.directory)
