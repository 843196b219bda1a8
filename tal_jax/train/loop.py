"""Training: the stages of a track one after another, each resumable."""

import contextlib
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tal_jax.data.batches import training_batches
from tal_jax.devices.mesh import (
    local_mesh,
    make_mesh,
    rows_per_process,
)
from tal_jax.devices.processes import TIMEOUT, first, meet, say
from tal_jax.errors import InputError, Interrupted
from tal_jax.stages.artifacts import hand_on
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.stage import build_stage, with_clips
from tal_jax.stages.workdir import claim_config, finished, locked, mark_finished
from tal_jax.train.checkpoint import Checkpoints
from tal_jax.train.evaluate import evaluate_stage
from tal_jax.train.interruption import Interruption, Watchdog
from tal_jax.train.messages import check_finite, describe, report_missing_proposals, report_population
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.population import make_program, population, spread
from tal_jax.train.progress import Progress, Silent


def train_and_evaluate(
    config: Mapping[str, Any], workdir: str | Path, stage: str = "", *, timeout: float = TIMEOUT
) -> None:
    """Runs the stages of `config["track"]` that are not finished, in order.

    Args:
      config: plain nested values.
      workdir: results go to WORKDIR/STAGE; an interrupted stage goes on where it stopped.
      stage: run only this one; if it is finished already, again from the start, and what it had is
        kept as WORKDIR/STAGE.previous.
      timeout: of several processes, ends this one when no step was taken for so many seconds.

    Raises:
      InputError: bad config or data, or a workdir that belongs to another config or is in use.
      Interrupted: by SIGTERM or because the machine is taken away; what was done is saved.
    """
    patience = timeout if jax.process_count() > 1 else math.inf
    with Interruption() as interruption, Watchdog(patience, "launch.train") as watchdog, contextlib.ExitStack() as lock:
        if first():
            lock.enter_context(locked(Path(workdir).absolute()))
        _train_track(config, Path(workdir).absolute(), stage, interruption, watchdog)


def _train_track(
    config: Mapping[str, Any], workdir: Path, stage: str, interruption: Interruption, watchdog: Watchdog
) -> None:
    track = tuple(config["track"])
    for name in track:
        if name not in config["stages"]:
            raise InputError(f"config: track: no stage {name!r}: it has {', '.join(config['stages'])}")
    if stage and stage not in track:
        raise InputError(f"--stage={stage}: no such stage: the track is {', '.join(track)}")
    if stage and finished(workdir, stage):
        # Moved, not deleted: the new run may fail, or be worse.
        if first():
            previous = workdir / f"{stage}.previous"
            shutil.rmtree(previous, ignore_errors=True)
            (workdir / stage).rename(previous)
        meet("finished stage moved")
    if first():
        claim_config(config, workdir, [stage] if stage else track)
    meet("workdir claimed")
    for name in [stage] if stage else track:
        if finished(workdir, name):
            say(f"stage {name}: finished, nothing to do")
            continue
        if name != stage and not needed(config, name):
            say(f"stage {name}: not needed, its results come from elsewhere")
            continue
        train_stage(config, name, workdir, interruption, watchdog)


def needed(config: Mapping[str, Any], name: str) -> bool:
    """Whether any later stage, or the user, reads what a stage makes: given files replace it."""
    kind = config["stages"][name]["task"]
    if kind == "trimmed":
        learners = [s for n, s in config["stages"].items() if n in config["track"] and s["task"] == "mgfn"]
        return any(not s["trimmed"] and s["options"]["mmd_weight"] for s in learners) or not learners
    refiners = [s for n, s in config["stages"].items() if n in config["track"] and s["task"] == "tcanet"]
    if kind == "bmn" and refiners:
        return any(not s["proposals"] for s in refiners)
    if kind == "classifier" and refiners:
        return any(not s["class_scores"] and s["options"].get("classes", "head") != "head" for s in refiners)
    return True


def train_stage(
    config: Mapping[str, Any], name: str, workdir: Path, interruption: Interruption, watchdog: Watchdog
) -> None:
    """Trains one stage from its last checkpoint to its last step, evaluates it and hands its results on."""
    begun = time.monotonic()
    settings = config["stages"][name]
    stage = with_clips(build_stage(config, name, workdir), config, workdir)
    if stage.training.metadata.fingerprint != stage.trained_on.fingerprint:
        raise InputError(
            f"{workdir}: stage {name} was begun with another data set than {config['data']['dir']}: give the one it "
            f"had with --config.data.dir, or remove {workdir / name} to train it anew"
        )
    report_missing_proposals(stage)
    steps, batch_size, seed = settings["steps"], settings["batch_size"], config["seed"]
    mesh = make_mesh(config.get("mesh", {}).get("model", 1))
    accumulate = settings.get("accumulate", 0)
    rows = rows_per_process(mesh, batch_size, accumulate)
    try:
        optimizer, rate = build_optimizer(steps=steps, **settings["optimizer"])
    except TypeError as e:
        raise InputError(f"config: stages.{name}.optimizer: {e}") from e

    ema_decay = settings["ema_decay"]
    example, _ = stage.assembler.training_row(stage.training[0], 0, np.random.default_rng(0))
    example = jax.tree.map(lambda x: np.broadcast_to(x, (batch_size, *np.shape(x))), example)
    members = population(seed, config.get("population", 0), config.get("learning_rates", ()))
    program = make_program(
        stage.task,
        optimizer,
        mesh,
        example,
        seed=seed,
        members=members,
        ema_decay=ema_decay,
        steps=steps,
        accumulate=accumulate,
    )
    state = program.init()
    predictor = Predictor(stage.task, local_mesh())

    checkpoints = Checkpoints(workdir, name)
    start, state = checkpoints.restore(state)
    data = training_batches(
        stage.training,
        stage.assembler,
        index=stage.train_index,
        batch_size=batch_size if program.whole_batches else rows,
        seed=seed,
        process=(0, 1) if program.whole_batches else (jax.process_index(), jax.process_count()),
        start=start,
    )
    batches = iter(data)
    say(describe(stage, program.member_shapes(state), len(stage.train_index), steps, batch_size, start))

    every = config["checkpoint"]["every_steps"]
    evaluate_every = settings["eval_every_steps"]
    log_every = config["log_every_steps"]
    progress = Progress(workdir / name, name=name, total=steps, start=start) if first() else Silent()
    before = compiled = None
    interruption.steps(True)
    try:
        for step in range(start + 1, steps + 1):
            with progress.waiting():
                batch, origin = next(batches)
            on_device = program.put(batch)
            if compiled is None:
                compiled = program.compiled(state, on_device)
            state, metrics = compiled(state, on_device)
            progress.advance()
            # The step before is looked at while this one runs: the device does not wait for the host.
            if before is not None:
                check_finite(stage, *before)
                if before[0] == start + 1:
                    say(f"stage {name}: first step after {time.monotonic() - begun:.1f} s")
            watchdog.moved()
            before = (step, metrics, origin)
            stop = step < steps and interruption.reached(step)
            if step % log_every == 0 or step == steps:
                values = {k: float(v) for k, v in jax.device_get(metrics).items() if k != "finite"}
                progress.log(step, {**values, "learning_rate": float(rate(step - 1))})
            score = None
            evaluated = (evaluate_every and step % evaluate_every == 0) or step == steps
            if step % every == 0 or evaluated or stop:
                check_finite(stage, *before)  # nothing is saved, or evaluated, that is not known to be good
            if evaluated:
                watchdog.pause()
                results = [evaluate_stage(stage, predictor, p, rows) for p in program.eval_params(state)]
                result = {name: values["mean"] for name, values in spread(results).items()}
                score = result.get("average")
                progress.log(step, result)
                watchdog.moved()
                if members and step == steps:
                    report_population(stage, members, results, workdir)
            if step % every == 0 or evaluated or stop:
                checkpoints.save(step, state, score)
            if stop:
                checkpoints.wait()
                raise Interrupted(f"stage {name}: stopped after step {step}, which is saved: the same command goes on")
        checkpoints.wait()
        interruption.steps(False)
        watchdog.pause()
        hand_on(stage, predictor, program.eval_params(state)[0], rows, workdir)
    finally:
        progress.close()
        checkpoints.close()
    mark_finished(workdir, name, steps)
    meet("stage finished")
