"""The training state and one step of training: pure, donated, jitted over the mesh."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax

from tal_jax.tasks.task import STATISTICS, Params, Task
from tal_jax.types import Array, Batch


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes."""

    step: Array  # int32 scalar, number of steps taken
    params: Params
    opt_state: Any
    ema: Params | None  # exponential moving average of params, None when off

    @property
    def eval_params(self) -> Params:
        """What predictions are made with: the average where there is one."""
        return self.params if self.ema is None else self.ema


def init_state(
    task: Task, optimizer: optax.GradientTransformation, batch: Batch, *, seed: int | Array, ema: bool
) -> TrainState:
    """A fresh training state, a function of the seed and of shapes alone.

    Args:
      task: makes the parameters.
      optimizer: makes its own state for them.
      batch: any global batch; only its shapes and types count.
      seed: the seed of the parameters.
      ema: keep an average of the parameters.
    """
    params = task.init(jax.random.key(seed), batch)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, params) if ema else None,
    )


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    seed: int | Array,
    ema_decay: float,
    steps: int,
    accumulate: int = 0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """The step function (state, batch) -> (state, metrics); jit it with the state donated.

    The step's randomness is a function of (seed, step), so an interrupted run goes on with the same draws. A step whose
    gradients are not finite leaves the parameters alone; its metrics say so (`finite` = 0).

    Args:
      task: its loss is minimized.
      optimizer: turns gradients into changes of the parameters.
      seed: the seed of dropout and of other draws of the loss.
      ema_decay: share of the parameters' average that a step keeps; read where the state has an average.
      steps: the length of the whole training, for losses that are ramped up.
      accumulate: above 1, the batch goes through in so many parts, one after the other, whose losses and gradients are
        averaged: less memory, the same result for losses that are means over rows. Ratios over a batch (balanced
        terms) are then those of a part.

    Returns:
      The step. Its metrics are float32 scalars: `loss`, what the task's loss reports, `gradient_norm`, `finite`.
    """

    whole = jax.value_and_grad(task.loss, has_aux=True)

    def gradients(params: Params, batch: Batch, rng: Array, progress: Array) -> Any:
        if accumulate <= 1:
            return whole(params, batch, rng, progress)

        def part(total: Any, piece: tuple[Array, Batch]) -> tuple[Any, None]:
            found = whole(params, piece[1], jax.random.fold_in(rng, piece[0]), progress)
            return jax.tree.map(jnp.add, total, found), None

        # Every accumulate-th row: of a batch that is split over devices, each has as many rows of every part.
        parts = jax.tree.map(lambda x: x.reshape(len(x) // accumulate, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)
        like = jax.eval_shape(whole, params, jax.tree.map(lambda x: x[0], parts), rng, progress)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
        total, _ = lax.scan(part, zeros, (jnp.arange(accumulate), parts))
        return jax.tree.map(lambda x: x / accumulate, total)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        rng = jax.random.fold_in(jax.random.key(seed + 1), state.step)
        progress = state.step.astype(jnp.float32) / steps
        (loss, metrics), grads = gradients(state.params, batch, rng, progress)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(norm) & jnp.isfinite(loss)
        with jax.numpy_dtype_promotion("standard"):  # Optax relies on promotion where this project's own code does not
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = dict(metrics)
        if STATISTICS in metrics:
            params = {**params, STATISTICS: metrics.pop(STATISTICS)}
        ema = state.ema
        if ema is not None:
            # A short memory at first, or the random start would linger: min(decay, (1 + n) / (10 + n)).
            n = state.step.astype(jnp.float32)
            decay = jnp.minimum(ema_decay, (1 + n) / (10 + n))
            ema = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, ema, params)
        new = TrainState(step=state.step + 1, params=params, opt_state=opt_state, ema=ema)
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, dataclasses.replace(state, step=state.step + 1))
        return kept, {"loss": loss, **metrics, "gradient_norm": norm, "finite": finite.astype(jnp.float32)}

    return train_step
