"""Training: the stages of a track one after another, each resumable."""

import contextlib
import dataclasses
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from tal_jax.data.batches import training_batches
from tal_jax.data.rows import Origin
from tal_jax.devices.mesh import local_mesh, make_mesh, rows_per_process
from tal_jax.devices.processes import TIMEOUT, first, meet, say
from tal_jax.errors import Interrupted
from tal_jax.stages.clips import with_clips
from tal_jax.stages.config import as_text, differences
from tal_jax.stages.handover import write_artifact
from tal_jax.stages.lock import locked
from tal_jax.stages.plan import StagePlan
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import Stage, complete_stage, remember
from tal_jax.stages.track import TrackPlan
from tal_jax.stages.workdir import has_checkpoint, mark_finished, write_config
from tal_jax.tasks.task import Params
from tal_jax.train.checkpoint import Checkpoints
from tal_jax.train.evaluate import evaluate_stage
from tal_jax.train.interruption import Interruption, Watchdog
from tal_jax.train.messages import check_finite, describe, outcome, report_missing_proposals, report_population
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.population import Program, make_program, population, spread
from tal_jax.train.progress import Progress, Silent
from tal_jax.train.trainable import plan_training
from tal_jax.types import Batch


def train_and_evaluate(
    config: Config | Mapping[str, Any], workdir: str | Path, stage: str = "", *, timeout: float = TIMEOUT
) -> None:
    """Runs the stages of the config's track that are not finished, in order; all are checked before the first one.

    Args:
      config: the config as plain nested values; keys that it lacks have their defaults.
      workdir: a folder; results go to WORKDIR/STAGE, and an interrupted stage goes on where it stopped.
      stage: the only stage to run; if it is finished already, it runs again from the start, and what it had is kept as
        WORKDIR/STAGE.previous. "" runs the whole track.
      timeout: seconds without a step after which one of several processes ends, since another one must hang.

    Raises:
      InputError: config or data are wrong, or the workdir belongs to another config or is in use.
      Interrupted: SIGTERM came, or the machine is taken away; what was done is saved.
      TrainingDiverged: a loss or its gradient is not finite.
    """
    workdir = Path(workdir).absolute()
    patience = timeout if jax.process_count() > 1 else math.inf
    with Interruption() as interruption, Watchdog(patience, "launch.train") as watchdog, contextlib.ExitStack() as lock:
        if first():
            lock.enter_context(locked(workdir))
        track = plan_training(config, workdir, stage)
        meet("track checked")  # all know by now what is finished
        say(as_text(differences(track.config)))
        _claim(track)
        later = sum(plan.section.steps for plan in track.running.values())
        for name in track.names:
            if name in track.running:
                later -= track.running[name].section.steps
                train_stage(track.running[name], interruption, watchdog, later)
            elif name in track.done:
                say(f"stage {name}: finished, nothing to do")
            else:
                say(f"stage {name}: not needed, its results come from elsewhere")
        say(outcome(track))


def _claim(track: TrackPlan) -> None:
    """Moves away the finished stage that runs again (the new run may fail, or be worse), and writes the config."""
    workdir, again = track.workdir, track.again
    if again and first():
        previous = workdir / f"{again}.previous"
        shutil.rmtree(previous, ignore_errors=True)
        (workdir / again).rename(previous)
    meet("finished stage moved")
    if first():
        write_config(track.config, workdir, track.names)
    meet("workdir claimed")


def train_stage(plan: StagePlan, interruption: Interruption, watchdog: Watchdog, later: int = 0) -> None:
    """Trains one stage from its last checkpoint to its last step, evaluates it and writes its artifact.

    Args:
      plan: the plan of the stage, whose workdir is locked by this process.
      interruption: asked after every step whether to save and stop.
      watchdog: notified of every step.
      later: steps of the stages that follow, for the time that is left.

    Raises:
      InputError: an artifact of an earlier stage is missing or does not fit, or every checkpoint is damaged.
      Interrupted: the process was asked to stop; what was done is saved.
      TrainingDiverged: a loss or its gradient is not finite.
    """
    begin = time.monotonic()
    name, workdir = plan.name, plan.workdir
    stage = with_clips(complete_stage(plan))
    report_missing_proposals(stage)
    if first() and not has_checkpoint(workdir, name):
        remember(stage)
    training = _prepare(stage)
    checkpoints = Checkpoints(workdir, name)
    start, state = checkpoints.restore(training.program.init())
    if not start and stage.task.begins_with_a_file:
        state = training.program.beginning(state, stage.task.begin)
    say(describe(stage, training.program.member_shapes(state), start))
    steps = stage.section.steps
    progress = Progress(workdir / name, name=name, total=steps, start=start, later=later) if first() else Silent()
    try:
        run = _Run(stage, training, checkpoints, progress, interruption, watchdog, begin)
        params = run.steps(state, start)
        digest = write_artifact(stage, training.predictor, params, training.rows)
    finally:
        progress.close()
        checkpoints.close()
    mark_finished(workdir, name, steps, digest)
    meet("stage finished")


@dataclasses.dataclass(frozen=True)
class _Training:
    """What the steps of a stage are made of."""

    program: Program
    predictor: Predictor
    rate: optax.Schedule
    rows: int  # of a batch that this process reads


def _prepare(stage: Stage) -> _Training:
    """The program, and how its results are predicted with."""
    config, section = stage.config, stage.section
    mesh = make_mesh(config.mesh.model)
    optimizer, rate = build_optimizer(section.optimizer, section.steps)
    row, _ = stage.assembler.training_row(stage.training[0], 0, np.random.default_rng(0))
    example = jax.tree.map(lambda x: np.broadcast_to(x, (section.batch_size, *np.shape(x))), row)
    program = make_program(
        stage.task,
        optimizer,
        mesh,
        example,
        seed=config.seed,
        members=population(config.seed, config.population, config.learning_rates),
        ema_decay=section.ema_decay,
        steps=section.steps,
        accumulate=section.accumulate,
    )
    rows = rows_per_process(mesh, section.batch_size, section.accumulate)
    return _Training(program, Predictor(stage.task, local_mesh()), rate, rows)


@dataclasses.dataclass(frozen=True)
class _Run:
    """The loop over a stage's steps."""

    stage: Stage
    training: _Training
    checkpoints: Checkpoints
    progress: Progress
    interruption: Interruption
    watchdog: Watchdog
    begin: float  # when the stage was begun

    def steps(self, state: Any, start: int) -> Params:
        """Takes all steps after `start`; returns the parameters that the (first) training predicts with."""
        program, steps = self.training.program, self.stage.section.steps
        before = compiled = None
        batches = self._batches(start)
        self.interruption.steps(True)
        for step in range(start + 1, steps + 1):
            with self.progress.waiting():
                batch, origin = next(batches)
            on_device = program.put(batch)
            if compiled is None:
                compiled = program.compiled(state, on_device)
            state, metrics = compiled(state, on_device)
            self.progress.advance()
            # The step before is looked at while this one runs: the device does not wait for the host.
            if before is not None:
                check_finite(self.stage, *before)
                if before[0] == start + 1:
                    say(f"stage {self.stage.name}: first step after {time.monotonic() - self.begin:.1f} s")
            self.watchdog.moved()
            before = (step, metrics, origin)
            self._log(step, metrics)
            self._save(step, state, before)
        self.checkpoints.wait()
        self.interruption.steps(False)
        self.watchdog.pause()
        return program.eval_params(state)[0]

    def _batches(self, start: int) -> Iterator[tuple[Batch, Origin]]:
        whole, section = self.training.program.whole_batches, self.stage.section
        data = training_batches(
            self.stage.training,
            self.stage.assembler,
            index=self.stage.recordings.train_index,
            batch_size=section.batch_size if whole else self.training.rows,
            seed=self.stage.config.seed,
            process=(0, 1) if whole else (jax.process_index(), jax.process_count()),
            start=start,
        )
        return iter(data)

    def _log(self, step: int, metrics: Mapping[str, Any]) -> None:
        if step % self.stage.config.log_every_steps == 0 or step == self.stage.section.steps:
            values = {k: float(v) for k, v in jax.device_get(metrics).items() if k != "finite"}
            self.progress.log(step, {**values, "learning_rate": float(self.training.rate(step - 1))})

    def _save(self, step: int, state: Any, taken: tuple[int, Mapping[str, Any], Origin]) -> None:
        """Evaluates and saves where this step is one to do so after, or the last one before the process ends.

        Raises:
          Interrupted: after saving, where the process was asked to stop.
        """
        section = self.stage.section
        stop = step < section.steps and self.interruption.reached(step)
        every = section.eval_every_steps
        evaluated = (every and step % every == 0) or step == section.steps
        if not (evaluated or stop or step % self.stage.config.checkpoint.every_steps == 0):
            return
        check_finite(self.stage, *taken)  # nothing is saved, or evaluated, whose loss was not finite
        score = self._evaluate(step, state) if evaluated else None
        self.checkpoints.save(step, state, score)
        if stop:
            self.checkpoints.wait()
            raise Interrupted(
                f"stage {self.stage.name}: stopped after step {step}, which is saved: the same command goes on"
            )

    def _evaluate(self, step: int, state: Any) -> float | None:
        """The score that decides which checkpoint is the best one; None without an evaluation."""
        self.watchdog.pause()
        program, predictor, rows = self.training.program, self.training.predictor, self.training.rows
        results = [evaluate_stage(self.stage, predictor, params, rows) for params in program.eval_params(state)]
        result = {name: values["mean"] for name, values in spread(results).items()}
        if result:
            self.progress.log(step, result)
        self.watchdog.moved()
        if program.members and step == self.stage.section.steps:
            report_population(self.stage, program.members, results)
        return result.get("average")
