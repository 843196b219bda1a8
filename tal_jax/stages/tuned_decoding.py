"""The decoding that `launch.tune` chose: a small file beside the checkpoints of a stage."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tal_jax.data import atomic
from tal_jax.errors import InputError
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.tasks.task import Task


def path_of(workdir: Path, stage: str) -> Path:
    """The path of the file that keeps the choice for a stage."""
    return workdir / stage / "tuned.json"


def write_tuned(workdir: Path, stage: str, decoding: Decoding, facts: dict[str, Any]) -> None:
    """Writes the choice.

    Args:
      workdir: the folder of the track.
      stage: the stage's name.
      decoding: what was chosen.
      facts: how it was chosen, in values of JSON, for people to read.
    """
    values = {name: float(value) for name, value in dataclasses.asdict(decoding).items()}
    atomic.write(path_of(workdir, stage), json.dumps({"decoding": values, **facts}, indent=1).encode())


def tuned(task: Task, workdir: Path, stage: str) -> Task:
    """The task with the decoding that was chosen for its stage; unchanged where none was chosen.

    Raises:
      InputError: the file is damaged.
    """
    choice = read_tuned(workdir, stage)
    return dataclasses.replace(task, decoding=choice) if choice and task.tunable else task  # type: ignore[type-var]


def read_tuned(workdir: Path, stage: str) -> Decoding | None:
    """The choice, or None where the stage was not tuned.

    Raises:
      InputError: the file is damaged.
    """
    path = path_of(workdir, stage)
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_bytes())["decoding"]
        return Decoding(**{f.name: float(values[f.name]) for f in dataclasses.fields(Decoding)})
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path}: damaged ({e!r:.60}): tune again (launch.tune), or remove it") from e
