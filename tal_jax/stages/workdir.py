"""What a workdir remembers: the config of every stage, and which stages are finished."""

import contextlib
import errno
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tal_jax.data import atomic
from tal_jax.data.dataset import Metadata
from tal_jax.devices.processes import first
from tal_jax.errors import InputError

# These change how a run is watched and saved or where its data lie, not what it computes.
FREE = {"checkpoint", "log_every_steps", "data.dir", "mesh"}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key, JSON's types."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out.update(flat(value, f"{name}."))
        else:
            out[name] = list(value) if isinstance(value, tuple) else value
    return out


def is_free(key: str) -> bool:
    """Whether a dotted key changes nothing of what a run computes."""
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def begun(workdir: Path, stage: str) -> bool:
    """Whether a stage has saved anything. Until then a corrected config, or other data, simply replaces the first."""
    folder = workdir / stage / "checkpoints"
    return folder.is_dir() and any(child.name.isdigit() for child in folder.iterdir())


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keeps other trainings out of a workdir; the lock goes with its process, however that ends.

    Raises:
      InputError: another process trains here, or nothing can be written.
    """
    owner = workdir / "lock.owner"  # beside the lock, which others may not be able to read
    lock = FileLock(workdir / "lock", timeout=0)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as e:
        who = owner.read_text()[:200].strip() if owner.is_file() else ""
        raise InputError(
            f"{workdir}: {who or 'another process'} is training here: wait for it, stop it, or choose another --workdir"
        ) from e
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{workdir}: cannot be written ({e.strerror}): choose another --workdir") from e
    try:
        owner.write_text(f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def claim_config(config: Mapping[str, Any], workdir: Path, stages: Iterable[str]) -> None:
    """Stores the config with every stage that runs; a stage begun under another config is an error.

    What a stage computes depends on its own section, on `data` and on `seed`, not on its neighbours' sections.

    Raises:
      InputError: names the first keys that differ.
    """
    for name in stages:
        path = workdir / name / "config.json"
        mine = {k: v for k, v in config.items() if k != "stages"} | {"stages": {name: config["stages"][name]}}
        if path.exists() and begun(workdir, name):
            try:
                stored = flat(json.loads(path.read_text()))
            except ValueError as e:
                raise InputError(f"{path}: damaged ({e}): remove the folder {path.parent} to train it anew") from e
            wanted = flat(json.loads(json.dumps(mine, default=list)))
            different = [
                f"{k} {stored.get(k)!r} -> {wanted.get(k)!r}"
                for k in sorted(stored.keys() | wanted.keys())
                if not _same(stored, wanted, k) and not is_free(k)
            ]
            if different:
                raise InputError(
                    f"{workdir}: stage {name} belongs to another config ({'; '.join(different[:5])}): choose another "
                    f"--workdir, or remove {path.parent} to train it anew"
                )
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, json.dumps(mine, indent=1, default=list).encode())
    atomic.write(workdir / "config.json", json.dumps(config, indent=1, default=list).encode())


def _same(stored: Mapping[str, Any], wanted: Mapping[str, Any], key: str) -> bool:
    """Whether a key has one value in both. A key that only one of them has is neutral there when 0 or empty.

    New keys come with such a default, so that a workdir of an older version stays what it was.
    """
    if key in stored and key in wanted:
        return stored[key] == wanted[key]
    return not (stored.get(key) or wanted.get(key))


def remember_data(workdir: Path, stage: str, metadata: Metadata, longest: int) -> tuple[Metadata, int]:
    """What the stage's training set was like: written by the first call, read by all later ones.

    Lengths and classes that a config leaves open come from here, so that a trained stage means the same on other data.

    Args:
      workdir, stage: whose.
      metadata: of the set at hand.
      longest: stored snippets of its longest recording.

    Returns:
      (metadata, longest) of the training.
    """
    path = workdir / stage / "data.json"
    if path.exists() and begun(workdir, stage):
        stored = json.loads(path.read_text())
        return Metadata.from_json(stored["metadata"]), stored["longest"]
    if first():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, json.dumps({"metadata": metadata.to_json(), "longest": longest}, indent=1).encode())
    return metadata, longest


def read_config(workdir: str | os.PathLike) -> dict[str, Any]:
    """The config that a workdir was trained with.

    Raises:
      InputError: it is not a workdir.
    """
    path = Path(workdir) / "config.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as e:
        raise InputError(f"{path}: missing: {workdir} is not the workdir of a training (launch.train)") from e
    except ValueError as e:
        raise InputError(f"{path}: damaged ({e}): train again or restore the file") from e


def finished(workdir: Path, stage: str) -> bool:
    """Whether a stage has taken all its steps and handed its results on."""
    return (workdir / stage / "finished.json").exists()


def mark_finished(workdir: Path, stage: str, steps: int) -> None:
    """Says so, last of all."""
    if first():
        atomic.write(workdir / stage / "finished.json", json.dumps({"steps": steps}).encode())
