"""Checkpoints of a stage by Orbax: the state and the data iterator, the last one and the best one."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from tal_jax.errors import InputError
from tal_jax.train.step import TrainState


def folder(workdir: str | os.PathLike, stage: str) -> Path:
    """Where a stage keeps its checkpoints."""
    return Path(workdir).absolute() / stage / "checkpoints"


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Gives a full disk its usual name: TensorStore reports it as a ValueError, from whichever thread wrote.

    Raises:
      OSError: ENOSPC, naming `path`.
    """
    try:
        yield
    except ValueError as e:
        if "RESOURCE_EXHAUSTED" not in str(e) and "No space left" not in str(e):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from e


class Checkpoints:
    """Saves asynchronously and atomically; keeps the newest `keep` and the best by the metric `average`."""

    def __init__(self, workdir: str | os.PathLike, stage: str, *, keep: int = 1):
        preserve = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep),
                checkpoint_managers.BestN(
                    get_metric_fn=lambda m: m["average"], n=1, keep_checkpoints_without_metrics=False
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=preserve, best_fn=lambda m: m["average"])
        self._path = folder(workdir, stage)
        self._manager = ocp.CheckpointManager(self._path, options=options)

    def latest(self) -> int | None:
        """The step of the newest checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, data: Any, score: float | None = None) -> None:
        """Starts saving the state and the data iterator; `score` is this step's evaluation, if there was one."""
        if step == self._manager.latest_step():
            return
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), data=grain.checkpoint.CheckpointSave(data))
        with full_disk(self._path):
            self._manager.save(step, args=args, metrics=None if score is None else {"average": score}, force=True)

    def restore(self, step: int, state: TrainState, data: Any) -> TrainState:
        """The state of a step, with the shapes and shardings of `state`; sets the data iterator to where it was."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), data=grain.checkpoint.CheckpointRestore(data)
        )
        return self._manager.restore(step, args=args)["state"]

    def wait(self) -> None:
        """Blocks until what was saved is on disk; raises what went wrong while saving."""
        with full_disk(self._path):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases the threads."""
        with full_disk(self._path):
            self._manager.close()


def restore_params(workdir: str | os.PathLike, stage: str, *, which: str = "last") -> Any:
    """The parameters that predictions are made with, as a plain tree of NumPy arrays.

    Args:
      workdir, stage: a stage that has at least one checkpoint.
      which: "last" or "best" (by the periodic evaluation).

    Raises:
      InputError: there is no such checkpoint.
    """
    path = folder(workdir, stage)
    if which not in ("last", "best"):
        raise InputError(f"checkpoint is 'last' or 'best', not {which!r}")
    step = None
    if path.is_dir():
        options = ocp.CheckpointManagerOptions(best_fn=lambda m: m["average"], read_only=True)
        with ocp.CheckpointManager(path, options=options) as manager:
            step = manager.latest_step() if which == "last" else manager.best_step()
    if step is None:
        raise InputError(f"{path}: no {which} checkpoint: train the stage first (launch.train --workdir={workdir})")
    with ocp.PyTreeCheckpointer() as checkpointer:
        saved = path / str(step) / "state"
        tree = checkpointer.metadata(saved).item_metadata.tree
        # As NumPy arrays: the devices of the training need not exist here.
        arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        state = checkpointer.restore(saved, restore_args=arrays)
    return state["params"] if state.get("ema") is None else state["ema"]
