"""The program of a training on its devices: the state, the step and how both lie on the mesh, of one run or several.

A population is several trainings in one program, alike but for the seeds of their parameters and of their dropout (what
chance does to a result) and for their learning rates. They see the same batches, and every device trains some of them.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tal_jax.devices.compilation import compile_step, made_once
from tal_jax.devices.mesh import by_row, put, replicated, to_host
from tal_jax.errors import InputError
from tal_jax.ops.model_axis import DATA, MODEL
from tal_jax.tasks.task import Params, Task
from tal_jax.train.step import TrainState, init_state, make_train_step
from tal_jax.types import Array, Batch


@dataclass(frozen=True)
class Member:
    """What sets one training of a population apart."""

    seed: int
    learning_rate: float = 1.0  # times the stage's


def population(seed: int, seeds: int, learning_rates: Sequence[float]) -> tuple[Member, ...]:
    """The members of a population.

    Args:
      seed: the first seed.
      seeds: how many seeds there are, one after the other; 0 counts as 1 where there are learning rates.
      learning_rates: factors of the stage's learning rate; every seed is trained with each.

    Returns:
      The members; () without seeds and without learning rates.

    Raises:
      InputError: a learning rate is not positive.
    """
    if any(not rate > 0 for rate in learning_rates):
        raise InputError(f"config: learning_rates {tuple(learning_rates)}: positive factors are expected")
    if not seeds and not learning_rates:
        return ()
    return tuple(Member(seed + k, rate) for k in range(max(seeds, 1)) for rate in learning_rates or (1.0,))


def check_population(members: Sequence[Member], mesh: Mesh) -> None:
    """Raises InputError where the members do not divide over the devices, or the mesh splits recordings."""
    if members and MODEL in mesh.shape:
        raise InputError("config: mesh.model splits single trainings only: leave it at 1 for a population")
    if len(members) % mesh.size:
        raise InputError(f"config: population {len(members)} does not divide over {mesh.size} devices")


@dataclass(frozen=True)
class Program:
    """The device's part of a training."""

    mesh: Mesh
    init: Callable[[], TrainState]
    step: Any  # jitted: (state, batch) -> (state, metrics); takes the state's memory
    batches: NamedSharding  # how a batch lies on the devices
    members: tuple[Member, ...]  # (): one training, whose arrays have no axis of members

    def beginning(self, state: TrainState, begin: Callable[[Params], Params]) -> TrainState:
        """A fresh state with what `begin` makes of its parameters; what it leaves, each member keeps its own of."""
        fresh = to_host(state.params)
        one = member(fresh, 0) if self.members else fresh
        changed = begin(one)

        def placed(old: Any, x: Any, was: Any) -> Any:
            if x is was:
                return old
            return jax.device_put(np.broadcast_to(np.asarray(x, old.dtype), old.shape), old.sharding)

        params = jax.tree.map(placed, state.params, changed, one)
        ema = None if state.ema is None else jax.tree.map(jnp.copy, params)
        return dataclasses.replace(state, params=params, ema=ema)

    def compiled(self, state: TrainState, batch: Batch) -> Any:
        """The step, compiled for a state and a batch of these shapes, types and shardings."""
        with jax.set_mesh(self.mesh):  # for `ops.model_axis`
            return compile_step(self.step, state, batch)

    def put(self, batch: Batch) -> Batch:
        """Puts a batch on the devices: this process's rows, or all rows where every device sees the whole batch."""
        return put(self.batches, batch)

    @property
    def whole_batches(self) -> bool:
        """Whether every process needs all rows of a batch."""
        return self.batches.is_fully_replicated

    def member_shapes(self, state: TrainState) -> TrainState:
        """The shapes and types of one member's state."""
        one = (lambda x: x[0]) if self.members else (lambda x: x)
        return jax.eval_shape(lambda s: jax.tree.map(one, s), state)

    def eval_params(self, state: TrainState) -> list[Params]:
        """The parameters that each member predicts with, on the host."""
        params = to_host(state.eval_params)
        return [member(params, k) for k in range(len(self.members))] if self.members else [params]


def make_program(
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    example: Batch,
    *,
    seed: int,
    members: Sequence[Member] = (),
    ema_decay: float,
    steps: int,
    accumulate: int = 0,
) -> Program:
    """The program of one training, or of a population.

    Args:
      task: the stage's task.
      optimizer: the stage's optimizer.
      mesh: all devices of all processes.
      example: a global batch; only its shapes and types count.
      seed: the seed of the one training, where there are no members.
      members: the members of the population; () for one training.
      ema_decay, steps, accumulate: see `make_train_step`.

    Raises:
      InputError: the members do not divide over the devices, or the mesh splits recordings.
    """
    # By shapes alone, so that trainings that are alike but for their data are one program.
    shapes, tree = jax.tree.flatten(jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), example))
    return _program(
        task, optimizer, mesh, tuple(shapes), tree, seed=seed, members=tuple(members), ema_decay=ema_decay, steps=steps,
        accumulate=accumulate,
    )  # fmt: skip


@made_once
def _program(
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    shapes: Sequence[jax.ShapeDtypeStruct],
    tree: Any,
    *,
    seed: int,
    members: Sequence[Member],
    ema_decay: float,
    steps: int,
    accumulate: int,
) -> Program:
    """`make_program` for an example that is given as its leaves' shapes and its tree."""
    example = jax.tree.unflatten(tree, [np.broadcast_to(np.zeros((), x.dtype), x.shape) for x in shapes])
    both, rows = replicated(mesh), by_row(mesh)
    make_step = functools.partial(make_train_step, task, ema_decay=ema_decay, steps=steps, accumulate=accumulate)
    if not members:
        step = make_step(optimizer, seed=seed)
        init = jax.jit(lambda: init_state(task, optimizer, example, seed=seed, ema=ema_decay > 0), out_shardings=both)
        jitted = jax.jit(step, in_shardings=(both, rows), out_shardings=(both, both), donate_argnums=0)
        return Program(mesh, init, jitted, rows, ())
    check_population(members, mesh)
    seeds = jnp.array([m.seed for m in members])
    rates = jnp.array([m.learning_rate for m in members], jnp.float32)
    by_member = PartitionSpec(DATA)

    def init_one(seed: Array) -> TrainState:
        return init_state(task, optimizer, example, seed=seed, ema=ema_decay > 0)

    def one(seed: Array, rate: Array, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        return make_step(_faster(optimizer, rate), seed=seed)(state, batch)

    # Not left to the partitioner: vmapped convolutions are grouped ones, which it cannot split by group.
    own_members = jax.shard_map(
        jax.vmap(one, in_axes=(0, 0, 0, None)),
        mesh=mesh,
        in_specs=(by_member, by_member, by_member, PartitionSpec()),
        out_specs=(by_member, by_member),
        check_vma=False,
    )

    def all_members(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        state, metrics = own_members(seeds, rates, state, batch)
        return state, {k: jnp.min(v) if k == "finite" else jnp.mean(v) for k, v in metrics.items()}

    states = NamedSharding(mesh, by_member)
    init = jax.jit(
        jax.shard_map(jax.vmap(init_one), mesh=mesh, in_specs=by_member, out_specs=by_member, check_vma=False)
    )
    jitted = jax.jit(all_members, in_shardings=(states, both), out_shardings=(states, both), donate_argnums=0)
    return Program(mesh, lambda: init(seeds), jitted, both, tuple(members))


def _faster(optimizer: optax.GradientTransformation, factor: Array) -> optax.GradientTransformation:
    """The optimizer with a learning rate `factor` times its own: AdamW's updates are proportional to it."""

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradients, state, params)
        return jax.tree.map(lambda x: factor * x, updates), state

    return optax.GradientTransformation(optimizer.init, update)


def member(tree: Any, k: int) -> Any:
    """Member k's part of a population's arrays, whose first axis is that of members."""
    return jax.tree.map(lambda x: x[k], tree)


def spread(results: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation of every score over the members: name -> {"mean": .., "sd": ..}."""
    return {
        name: {
            "mean": float(np.mean([r[name] for r in results])),
            "sd": float(np.std([r[name] for r in results], ddof=min(1, len(results) - 1))),
        }
        for name in results[0]
    }
