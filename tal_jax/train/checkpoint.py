"""Checkpoints of a stage by Orbax: the state and checksums of its arrays, the newest ones and the best one."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from tal_jax.devices.processes import first, gather, meet, say
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.stages.remembered import seal_sum
from tal_jax.train.step import TrainState

# What a file system may refuse while a checkpoint is written, by the system's own words for it.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EMFILE, errno.ESTALE, errno.EIO)


def folder(workdir: str | os.PathLike, stage: str) -> Path:
    """The folder in which a stage keeps its checkpoints."""
    return Path(workdir).absolute() / stage / "checkpoints"


OTHER = "saved by another training than the one whose seal.json lies in the stage's folder"
SEAL = "/seal"  # among the checksums of arrays: that of the seal of what the stage remembers, see `stages.remembered`


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Gives what the system refused its usual name: TensorStore reports a ValueError, from whichever thread wrote.

    Raises:
      OSError: naming `path`; of a full disk ENOSPC, also where TensorStore says no more than that resources are short.
    """
    try:
        yield
    except ValueError as e:
        text = str(e)
        number = next((n for n in REFUSALS if os.strerror(n) in text), None)
        if number is None and "RESOURCE_EXHAUSTED" in text:
            number = errno.ENOSPC
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from e


def checksums(tree: Any) -> dict[str, int]:
    """CRC32C of every array by its path, "a/b/kernel", without those that no process has whole."""
    found = {}
    for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            if not x.is_fully_replicated:
                continue
            x = x.addressable_data(0)
        found["/".join(_name(key) for key in path)] = google_crc32c.value(np.ascontiguousarray(x).tobytes())
    return found


def _name(key: Any) -> str:
    """The same for an attribute, a key and a position: Orbax gives back attributes and positions as keys."""
    return str(next(getattr(key, name) for name in ("name", "key", "idx") if hasattr(key, name)))


def check_metrics(path: Path) -> None:
    """Looks at the scores of all checkpoints in a folder, before Orbax stumbles over them.

    Raises:
      InputError: those of a checkpoint are damaged.
    """
    for step in sorted(path.iterdir()) if path.is_dir() else []:
        file = step / "metrics" / "metrics"
        if step.name.isdigit() and file.parent.is_dir():
            remedy = f"remove {step}: the training goes on from the checkpoint before"
            own_files.member(file, own_files.read_object(file, remedy), "average", float, remedy)


class Checkpoints:
    """Saves asynchronously and atomically; keeps the newest `keep` and the best by the metric `average`."""

    def __init__(self, workdir: str | os.PathLike, stage: str, *, keep: int = 2):
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
        check_metrics(self._path)
        self._manager = ocp.CheckpointManager(self._path, options=options)

    def save(self, step: int, state: TrainState, score: float | None = None) -> None:
        """Starts to save in the background.

        Args:
          step: the number of steps taken.
          state: the training state, or that of a population.
          score: what decides which checkpoint is the best one; None where this step was not evaluated.
        """
        if step == self._manager.latest_step():
            return
        sealed = seal_sum(self._path.parent)
        sums = checksums(state) | ({} if sealed is None else {SEAL: sealed})
        args = ocp.args.Composite(state=ocp.args.StandardSave(state), checksums=ocp.args.JsonSave(sums))
        with full_disk(self._path):
            self._manager.save(step, args=args, metrics=None if score is None else {"average": score}, force=True)

    def restore(self, state: TrainState) -> tuple[int, TrainState]:
        """The step of the newest undamaged checkpoint, and its state with the shapes and shardings of `state`.

        A damaged one is moved to STAGE/damaged and said to be so. Without any, step 0 and `state` itself.

        Raises:
          InputError: there are checkpoints, and all are damaged, or of another training.
        """
        damaged, steps = [], sorted(self._manager.all_steps(), reverse=True)
        if steps and not any(_belongs(self._path / str(step)) for step in steps):
            raise InputError(
                f"{self._path}: {OTHER}: restore the files of {self._path.parent}, or remove it to train the stage anew"
            )
        for step in steps:
            restored, reason = self._try(step, state)
            # Damaged for one process is damaged for all: they go on from the same step.
            reason = next(filter(None, (str(found["reason"]) for found in gather({"reason": np.array(reason)}))), "")
            if not reason:
                break
            damaged.append(step)
            say(f"{self._path / str(step)}: damaged checkpoint ({reason}): moved to {self._aside}")
        if damaged:
            if first():
                self._aside.mkdir(exist_ok=True)
                for bad in damaged:
                    shutil.rmtree(self._aside / str(bad), ignore_errors=True)
                    (self._path / str(bad)).rename(self._aside / str(bad))
            meet("damaged checkpoints moved")
            self._manager.reload()
            if not self._manager.all_steps():
                raise InputError(
                    f"{self._path}: all checkpoints are damaged (they are in {self._aside} now): "
                    "started again, the stage begins anew"
                )
        return (step, restored) if self._manager.all_steps() else (0, state)

    def _try(self, step: int, state: TrainState) -> tuple[Any, str]:
        """The state of a step, and why it cannot be had; "" if it can."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        try:
            restored = self._manager.restore(step, args=args)["state"]
            _metadata(self._path / str(step))  # not read here, but by all who want the parameters alone
            check(self._path / str(step), restored)
        # Whatever is wrong with a file, Orbax and TensorStore report it by one of a dozen types.
        except Exception as e:
            return None, _reason(e)
        return restored, ""

    @property
    def _aside(self) -> Path:
        return self._path.with_name("damaged")

    def wait(self) -> None:
        """Waits until what was saved is on disk; raises what went wrong while saving."""
        with full_disk(self._path):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until all is saved, and ends the threads."""
        with full_disk(self._path):
            self._manager.close()


def _reason(error: Exception) -> str:
    if isinstance(error, (AttributeError, TypeError, LookupError)):  # Orbax stumbles over what is not there
        return f"a file of it is missing, cut off or of another kind of checkpoint ({type(error).__name__})"
    return (str(error).splitlines() or [type(error).__name__])[0][:200] or type(error).__name__


def check(path: Path, tree: Any, prefix: str = "") -> None:
    """Compares arrays with the checksums of a checkpoint; one of an older version has none, and is not checked.

    Args:
      path: the folder of the checkpoint.
      tree: arrays of its state.
      prefix: comes before the path of every array in the tree, where that is a part of the state.

    Raises:
      ValueError: an array differs from its checksum, the text names the first one; or it was saved beside another seal.
    """
    if not (path / "checksums").exists():
        return
    expected = _expected(path)
    if not _beside(path, expected):
        raise ValueError(OTHER)
    for name, value in checksums(tree).items():
        if expected.get(prefix + name) != value:
            raise ValueError(f"the checksum of {prefix}{name} does not match")


def _expected(path: Path) -> Mapping[str, int]:
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        found: Mapping[str, int] = checkpointer.restore(path / "checksums")
        return found


def _beside(path: Path, expected: Mapping[str, int]) -> bool:
    """Whether a checkpoint was saved beside the seal that its stage has; true where either does not say."""
    sealed = seal_sum(path.parent.parent)
    return sealed is None or expected.get(SEAL, sealed) == sealed


def _belongs(path: Path) -> bool:
    """The same, before anything else of a checkpoint is read: true of a damaged one, which `check` will tell."""
    try:
        return _beside(path, _expected(path))
    except Exception:  # see `Checkpoints._try`
        return True


def restore_params(workdir: str | os.PathLike, stage: str, *, which: str = "last", member: int = 0) -> Any:
    """The parameters that predictions are made with, as a plain tree of NumPy arrays.

    Args:
      workdir: the folder of a training.
      stage: the name of a stage that has at least one checkpoint.
      which: "last", or "best" by the periodic evaluation.
      member: which training of a population, from 0; without a population there is only 0.

    Raises:
      InputError: there is no such checkpoint or member, or it is damaged.
    """
    path = folder(workdir, stage)
    if which not in ("last", "best"):
        raise InputError(f"checkpoint is 'last' or 'best', not {which!r}")
    step = None
    if path.is_dir():
        check_metrics(path)
        options = ocp.CheckpointManagerOptions(best_fn=lambda m: m["average"], read_only=True)
        with ocp.CheckpointManager(path, options=options) as manager:
            step = manager.latest_step() if which == "last" else manager.best_step()
    if step is None:
        raise InputError(f"{path}: no {which} checkpoint: train the stage first (launch.train --workdir={workdir})")
    try:
        state = _tree(path / str(step))
        name = "params" if state.get("ema") is None else "ema"
        check(path / str(step), state[name], f"{name}/")
    except Exception as e:  # see Checkpoints.restore
        raise InputError(
            f"{path / str(step)}: damaged checkpoint ({_reason(e)}): remove {path.with_name('finished.json')} if it is "
            "there, and start launch.train again: it goes on from the checkpoint before"
        ) from e
    members = state["step"].shape  # a population's arrays have an axis of members
    if member >= (members[0] if members else 1):
        raise InputError(f"{path}: no member {member}: there are {members[0] if members else 1}, from 0")
    return jax.tree.map(lambda x: x[member], state[name]) if members else state[name]


def load(path: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint's state by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(_tree(path.absolute()))  # Orbax finds nothing by a relative path
    return {"/".join(_name(key) for key in keys): x for keys, x in leaves}


def _tree(path: Path) -> Any:
    """The state of a checkpoint as a plain tree of NumPy arrays: the devices of the training need not exist here."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), _metadata(path))
        return checkpointer.restore(path / "state", restore_args=arrays)


def _metadata(path: Path) -> Any:
    """The tree of a checkpoint's state without its arrays."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.metadata(path / "state").item_metadata.tree
