"""Whether the stages of a track can be trained: optimizer, devices, population and model, before the first step."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.errors import FlaxError

from tal_jax.batch_layout import Sizes
from tal_jax.devices.compilation import made_once
from tal_jax.devices.mesh import make_mesh, rows_per_process
from tal_jax.errors import InputError
from tal_jax.stages.methods import build_task
from tal_jax.stages.plan import StagePlan
from tal_jax.stages.sections import Config
from tal_jax.stages.task_fields import model_fields
from tal_jax.stages.track import TrackPlan, plan_track
from tal_jax.tasks.task import PROPOSALS, Task
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.population import check_population, population
from tal_jax.types import Batch


def plan_training(
    config: Config | Mapping[str, Any], workdir: Path, stage: str = "", *, trace: bool = True
) -> TrackPlan:
    """Plans a track, and builds what each of its stages is trained with, as far as that needs no results of others.

    Args:
      config: the config of the track, or its nested values.
      workdir: the folder of the track.
      stage: the only stage to run; "" runs the whole track.
      trace: whether models of later stages are traced, which takes seconds for each.

    Raises:
      InputError: something is wrong with the config, the set or a file, so far as it can be known before training.
    """
    track = plan_track(config, workdir, stage)
    for position, plan in enumerate(track.running.values()):
        _check_step(plan)
        if trace:
            _check_model(plan, whole=position > 0)  # the first one's loss is traced right away in any case
    return track


def _check_step(plan: StagePlan) -> None:
    """Raises InputError where the optimizer, the batch or the population is impossible."""
    config, section = plan.config, plan.section
    build_optimizer(section.optimizer, section.steps)
    mesh = make_mesh(config.mesh.model)
    rows_per_process(mesh, section.batch_size, section.accumulate)
    check_population(population(config.seed, config.population, config.learning_rates), mesh)


def _check_model(plan: StagePlan, *, whole: bool) -> None:
    """Traces a stage's first parameters and, as a `whole`, its loss and prediction, on shapes alone: it takes seconds.

    Raises:
      InputError: a value of the model or of the task that only they notice; the text names the key where the model can
        be trained with that one's default.
    """
    if not (reason := _fault(plan, plan.task, whole)):
        return
    section = plan.section
    defaults = model_fields(section.kind).defaults
    changed = [key for key, value in section.model.items() if key in defaults and value != defaults[key]]
    for key in changed:
        model = {**section.model, key: defaults[key]}
        other = dataclasses.replace(section, model=model)
        try:
            task = build_task(other, plan.trained_on, plan.framing, f"stages.{plan.name}")
        except InputError:
            continue  # the default does not fit the other values
        if not _fault(plan, task, whole):
            raise InputError(
                f"config: stages.{plan.name}.model.{key} is {section.model[key]!r:.60}, with which no such model can "
                f"be trained: {reason:.300}: its default is {defaults[key]!r:.60}"
            )
    raise InputError(f"config: stages.{plan.name}: no such model can be trained: {reason:.300}")


def _fault(plan: StagePlan, task: Task, whole: bool) -> str:
    """Why a model cannot be trained, "" where it can; see `_check_model`."""
    frame = plan.section.data
    takes = PROPOSALS in plan.section.needs
    *pixels, channels = task.image or (sum(plan.trained_on.streams[stream] for stream in plan.streams),)
    sizes = Sizes(
        plan.framing.snippets,
        channels,
        len(plan.trained_on.labels),
        segments=0 if task.weak else max(plan.trained_on.segments_per_recording, 1),
        proposals=(frame.train_proposals or frame.proposals) if takes else 0,
        pixels=(pixels[0], pixels[1]) if pixels else None,
    )
    return _fault_at(task, sizes, plan.section.batch_size, whole)


@made_once
def _fault_at(task: Task, sizes: Sizes, rows: int, whole: bool) -> str:
    """`_fault` for batches of so many rows of these sizes."""
    batch = Batch.spec(sizes, rows)
    if task.clip_feature_width():
        clips = dataclasses.replace(sizes, clip_features=task.clip_feature_width())
        batch = dataclasses.replace(batch, clips=Batch.spec(clips, rows))
    try:
        params = jax.eval_shape(task.init, jax.random.key(0), batch)
        if not whole:
            return ""
        jax.eval_shape(task.loss, params, batch, jax.random.key(0), jax.ShapeDtypeStruct((), np.float32))
        jax.eval_shape(task.predict, params, dataclasses.replace(batch, clips=None))
    except (ValueError, TypeError, ZeroDivisionError, FlaxError) as e:
        return " ".join(str(e).partition("-" * 20)[0].split()) or type(e).__name__
    return ""
