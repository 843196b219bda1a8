"""The check of a track before its first step: which stages are to run, and whether all of them can."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from flax.errors import FlaxError

from tal_jax.batch_layout import Sizes
from tal_jax.devices.mesh import make_mesh, rows_per_process
from tal_jax.errors import InputError
from tal_jax.stages.artifacts import check_set, read_artifact
from tal_jax.stages.recordings import open_clips
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import StagePlan, check_held_out, plan_stage
from tal_jax.stages.workdir import check_config, finished
from tal_jax.tasks.task import PROPOSALS
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.population import check_population, population
from tal_jax.types import Batch
from tal_jax.words import hint


def check_track(config: Config, workdir: Path, stage: str = "", *, trace: bool = True) -> list[str]:
    """Checks every stage that is to run, and that finished ones belong to this config and set.

    Args:
      config: the config of the track.
      workdir: the folder of the track.
      stage: the only stage to run; "" runs the whole track.
      trace: whether models of later stages are traced, which takes seconds for each.

    Returns:
      The names of the stages to run, finished ones among them, in order.

    Raises:
      InputError: something is wrong with the config, the set or a file, so far as it can be known before training.
    """
    if stage and stage not in config.track:
        raise InputError(f"--stage={stage}: no such stage: {hint(stage, config.track, 'the track is')}")
    names = [stage] if stage else list(config.track)
    if not names:
        raise InputError("config: track: names no stage")
    anew = bool(stage) and finished(workdir, stage)  # its folder will be moved away
    if not anew:
        check_config(config, workdir, names)
    running = [n for n in names if n == stage or (needed(config, n) and not finished(workdir, n))]
    for name in names:
        if name != stage and not needed(config, name):
            continue
        plan = plan_stage(config, name, workdir, anew=anew)
        check_stage(config, plan)
        if not plan.on_its_own_set:
            raise _other_set(name, plan.training.directory, workdir)
        if not anew:
            check_held_out(plan.recordings, config.data, name, workdir)
        if name in running:
            _check_artifacts(config, plan, workdir, running)
        if trace and name in running[1:]:  # the first one's are traced right away in any case
            _check_model(plan)
    return names


def check_stage(config: Config, plan: StagePlan) -> None:
    """Builds what a stage is trained with, as far as that needs no results of other stages.

    Args:
      config: the config of the track.
      plan: the plan of the stage, see `plan_stage`.

    Raises:
      InputError: the optimizer, the batch, the population or a number is impossible.
    """
    section, where = plan.section, f"stages.{plan.name}"
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
    build_optimizer(section.optimizer, section.steps)
    mesh = make_mesh(config.mesh.model)
    rows_per_process(mesh, section.batch_size, section.accumulate)
    check_population(population(config.seed, config.population, config.learning_rates), mesh)
    if section.splice:
        open_clips(config.data)


def _check_artifacts(config: Config, plan: StagePlan, workdir: Path, running: Sequence[str]) -> None:
    """Reads what a stage takes, unless a stage that runs before it will make it.

    Raises:
      InputError: it is missing, damaged or of another set, or the stage that makes it comes later; or a file is given
        that the stage would not read with its settings.
    """
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
        found = read_artifact(config, plan.name, artifact, workdir, plan.trained_on.labels)
        check_set(found, plan.training.metadata, plan.training.directory)


def _check_model(plan: StagePlan) -> None:
    """Traces a stage's first parameters, its loss and its prediction on shapes alone, which takes seconds.

    Raises:
      InputError: a value of the model or of the task that only they notice.
    """
    frame, task = plan.section.data, plan.task
    takes = PROPOSALS in plan.section.needs
    sizes = Sizes(
        plan.framing.snippets,
        sum(plan.trained_on.streams[stream] for stream in plan.streams),
        len(plan.trained_on.labels),
        segments=0 if task.weak else max(plan.trained_on.segments_per_recording, 1),
        proposals=(frame.train_proposals or frame.proposals) if takes else 0,
    )
    batch = Batch.spec(sizes, plan.section.batch_size)
    if task.clip_feature_width():
        clips = dataclasses.replace(sizes, clip_features=task.clip_feature_width())
        batch = dataclasses.replace(batch, clips=Batch.spec(clips, plan.section.batch_size))
    try:
        params = jax.eval_shape(task.init, jax.random.key(0), batch)
        jax.eval_shape(task.loss, params, batch, jax.random.key(0), jax.ShapeDtypeStruct((), np.float32))
        jax.eval_shape(task.predict, params, dataclasses.replace(batch, clips=None))
    except (ValueError, TypeError, ZeroDivisionError, FlaxError) as e:
        reason = " ".join(str(e).split())
        raise InputError(f"config: stages.{plan.name}: no such model can be trained: {reason:.300}") from e


def _other_set(name: str, directory: Path, workdir: Path) -> InputError:
    return InputError(
        f"{workdir}: stage {name} was begun with another data set than {directory}: give the one it had with "
        f"--config.data.dir, or remove {workdir / name} to train it anew"
    )


def needed(config: Config, name: str) -> bool:
    """Whether another stage of the track needs what the stage `name` makes, or it is the user who wants it.

    A stage whose artifact is replaced by files that the config names is not needed.
    """
    made = config.stages[name].kind.makes
    others = [config.stages[other] for other in config.track if other != name]
    takers = [section for section in others if made in section.kind.accepts]
    return not takers or any(made in section.needs and not section.files.get(made) for section in takers)
