"""The cost of a stage's training and prediction steps on this machine, on random batches of given sizes."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.devices.compilation import compile_step
from tal_jax.devices.memory import process_peak_bytes
from tal_jax.experiments.synthetic import data_sizes, prediction_batch, synthetic_batch, synthetic_task
from tal_jax.stages.sections import Config, StageSection
from tal_jax.tasks.task import Task
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.step import TrainState, init_state, make_train_step
from tal_jax.types import Batch

STEPS = 1000  # the length of the training that a step is taken from
USUAL = {"snippets": 100, "channels": 400, "proposals": 100}  # of what is measured where nothing is said
PEAK_SIZE = 2048  # of the matrices whose product stands for the machine's peak


def compiled_train_step(
    task: Task, section: StageSection, batch: Batch, *, donate: bool = True
) -> tuple[TrainState, Any, float]:
    """A state in the middle of a training, the compiled training step, and how many seconds compiling took.

    Args:
      task: the task that is trained.
      section: the section of its stage, for the optimizer and the average of parameters.
      batch: a batch of the sizes to compile for.
      donate: let the step use its state's memory for the next one, as in training.
    """
    optimizer, _ = build_optimizer(section.optimizer, STEPS)
    state = jax.jit(lambda: init_state(task, optimizer, batch, seed=0, ema=section.ema_decay > 0))()
    state = state.replace(step=state.step + int(0.9 * STEPS))  # past all ramps
    step = make_train_step(task, optimizer, seed=0, ema_decay=section.ema_decay, steps=STEPS)
    begin = time.perf_counter()
    compiled = compile_step(jax.jit(step, donate_argnums=0 if donate else ()), state, batch)
    return state, compiled, time.perf_counter() - begin


def compiled_predict_step(task: Task, params: Any, batch: Batch) -> tuple[Any, float]:
    """The compiled prediction step, and how many seconds compiling took; the batch carries no clips."""
    begin = time.perf_counter()
    compiled = compile_step(jax.jit(task.predict), params, batch)
    return compiled, time.perf_counter() - begin


def median_seconds(step: Callable[[], Any], count: int) -> float:
    """The median seconds of `count` calls of `step`, each until its results are there, after one call to warm up."""
    jax.block_until_ready(step())
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        jax.block_until_ready(step())
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def matmul_peak() -> float:
    """Floating-point operations a second of a large float32 matrix product, the best of five."""
    a = jnp.ones((PEAK_SIZE, PEAK_SIZE), jnp.float32)
    product = jax.jit(jnp.matmul)
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        jax.block_until_ready(product(a, a))
        times.append(time.perf_counter() - begin)
    return 2 * PEAK_SIZE**3 / min(times[1:])


def peak_bytes() -> int:
    """The most bytes of memory used so far: of the device where it counts them, else of this process."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return int(statistics["peak_bytes_in_use"])
    return process_peak_bytes()


def measure(
    config: Config | Mapping[str, Any],
    stage: str,
    *,
    rows: int,
    steps: int,
    classes: int,
    snippets: int = 0,
    channels: int = 0,
    proposals: int = 0,
) -> dict[str, Any]:
    """Times the training and the prediction step of a stage.

    Args:
      config: the config as plain nested values.
      stage: the stage's name.
      rows: B of the batch.
      snippets: T of the frame; 0 takes that of `USUAL`, and so with the next two.
      channels: C of all streams together.
      proposals: P, for stages that refine proposals.
      classes: K.
      steps: how many steps of each kind are timed.

    Returns:
      `train_step_seconds` and `predict_step_seconds` (medians), recordings a second, compile seconds, operations of the
      compiled training step as XLA counts them (the body of a loop counts once), their rate as a fraction of this
      machine's matrix product, peak memory in bytes, and the sizes.

    Raises:
      InputError: there is no such stage, or the config does not fit these sizes.
    """
    sizes = data_sizes(config, stage, USUAL, snippets=snippets, channels=channels, classes=classes, proposals=proposals)
    proposals = sizes.pop("proposals")
    task, section = synthetic_task(config, stage, **sizes)
    made = synthetic_batch(task, rows, proposals=proposals, **sizes)
    batch, predict_batch = jax.device_put((made, prediction_batch(task, section, made)))
    state, train, train_compile = compiled_train_step(task, section, batch)
    box = [state]

    def train_once() -> Any:
        box[0], metrics = train(box[0], batch)
        return metrics

    train_seconds = median_seconds(train_once, steps)
    peak_memory = peak_bytes()
    predict, predict_compile = compiled_predict_step(task, box[0].params, predict_batch)
    predict_seconds = median_seconds(lambda: predict(box[0].params, predict_batch), steps)
    flops = float((train.cost_analysis() or {}).get("flops", 0.0))
    peak = matmul_peak()
    return {
        "stage": stage,
        "batch": rows,
        **sizes,
        "proposals": batch.proposals.shape[1],
        "backend": jax.default_backend(),
        "devices": 1,
        "train_step_seconds": train_seconds,
        "predict_step_seconds": predict_seconds,
        "train_recordings_per_second": rows / train_seconds,
        "predict_recordings_per_second": rows / predict_seconds,
        "train_compile_seconds": train_compile,
        "predict_compile_seconds": predict_compile,
        "train_flops": flops,
        "matmul_flops_per_second": peak,
        "fraction_of_matmul_peak": flops / train_seconds / peak,
        "peak_memory_bytes": peak_memory,
    }
