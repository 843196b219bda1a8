"""What runs on the devices in a training: the state, the step and how both lie on the mesh, of one run or of several.

A population is several trainings in one program, alike but for the seeds of their parameters and of their dropout: what
chance does to a result. They see the same batches, and every device trains some of them.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tal_jax.errors import InputError
from tal_jax.ops.split import DATA, MODEL
from tal_jax.tasks.task import Params, Task
from tal_jax.train.compilation import compile_step
from tal_jax.train.sharding import by_row, put, replicated, to_host
from tal_jax.train.step import TrainState, init_state, make_train_step
from tal_jax.types import Array, Batch


@dataclass(frozen=True)
class Program:
    """The device's part of a training."""

    mesh: Mesh
    init: Callable[[], TrainState]
    step: Any  # jitted: (state, batch) -> (state, metrics); takes the state's memory
    batches: NamedSharding  # of a batch
    members: int  # 0: one training, whose arrays have no axis of members

    def compiled(self, state: TrainState, batch: Batch) -> Any:
        """The step, compiled for arrays like these."""
        with jax.set_mesh(self.mesh):  # for `ops.split`
            return compile_step(self.step, state, batch)

    def put(self, batch: Batch) -> Batch:
        """Rows of this process, or all of them where every device sees the whole batch, to the devices."""
        return put(self.batches, batch)

    @property
    def whole_batches(self) -> bool:
        """Whether every process needs all rows of a batch."""
        return self.batches.is_fully_replicated

    def member_shapes(self, state: TrainState) -> TrainState:
        """The shapes of one member's state."""
        one = (lambda x: x[0]) if self.members else (lambda x: x)
        return jax.eval_shape(lambda s: jax.tree.map(one, s), state)

    def eval_params(self, state: TrainState) -> list[Params]:
        """What each member predicts with, on the host."""
        params = to_host(state.eval_params)
        return [member(params, k) for k in range(self.members)] if self.members else [params]


def make_program(
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    example: Batch,
    *,
    seed: int,
    members: int,
    ema_decay: float,
    steps: int,
    accumulate: int = 0,
) -> Program:
    """The program of one training (members = 0), or of `members` with the seeds `seed`, `seed` + 1, ...

    Args:
      task, optimizer: of the stage.
      mesh: all devices.
      example: a global batch; only shapes count.
      seed, ema_decay, steps, accumulate: see `make_train_step`.
      members: how many trainings.

    Raises:
      InputError: they do not divide over the devices, or the mesh splits recordings.
    """
    both, rows = replicated(mesh), by_row(mesh)
    make_step = functools.partial(
        make_train_step, task, optimizer, ema_decay=ema_decay, steps=steps, accumulate=accumulate
    )
    if not members:
        step = make_step(seed=seed)
        init = jax.jit(lambda: init_state(task, optimizer, example, seed=seed, ema=ema_decay > 0), out_shardings=both)
        jitted = jax.jit(step, in_shardings=(both, rows), out_shardings=(both, both), donate_argnums=0)
        return Program(mesh, init, jitted, rows, 0)
    if MODEL in mesh.shape:
        raise InputError("config: mesh.model splits single trainings only: leave it at 1 for a population")
    if members % mesh.size:
        raise InputError(f"config: population {members} does not divide over {mesh.size} devices")
    seeds = seed + jnp.arange(members)
    by_member = PartitionSpec(DATA)

    def init_one(seed: Array) -> TrainState:
        return init_state(task, optimizer, example, seed=seed, ema=ema_decay > 0)

    def one(seed: Array, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        return make_step(seed=seed)(state, batch)

    # Not left to the partitioner: vmapped convolutions are grouped ones, which it cannot split by group.
    own_members = jax.shard_map(
        jax.vmap(one, in_axes=(0, 0, None)),
        mesh=mesh,
        in_specs=(by_member, by_member, PartitionSpec()),
        out_specs=(by_member, by_member),
        check_vma=False,
    )

    def all_members(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        state, metrics = own_members(seeds, state, batch)
        return state, {k: jnp.min(v) if k == "finite" else jnp.mean(v) for k, v in metrics.items()}

    states = NamedSharding(mesh, by_member)
    init = jax.jit(
        jax.shard_map(jax.vmap(init_one), mesh=mesh, in_specs=by_member, out_specs=by_member, check_vma=False)
    )
    jitted = jax.jit(all_members, in_shardings=(states, both), out_shardings=(states, both), donate_argnums=0)
    return Program(mesh, lambda: init(seeds), jitted, both, members)


def member(tree: Any, k: int) -> Any:
    """One member's part of a population's arrays."""
    return jax.tree.map(lambda x: x[k], tree)


def spread(results: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (of a sample) of every score over the members."""
    return {
        name: {
            "mean": float(np.mean([r[name] for r in results])),
            "sd": float(np.std([r[name] for r in results], ddof=min(1, len(results) - 1))),
        }
        for name in results[0]
    }
