"""The decoding that `launch.tune` chose: a small file beside the checkpoints of a stage."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from tal_jax.data import atomic
from tal_jax.guarded import own_files
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
    if not os.path.lexists(path):
        return None
    remedy = f"tune again (launch.tune --workdir={workdir} --stage={stage}), or remove it"
    values = own_files.member(path, own_files.read_object(path, remedy), "decoding", dict, remedy)
    names = [field.name for field in dataclasses.fields(Decoding)]
    return Decoding(**{name: float(own_files.member(path, values, name, float, remedy)) for name in names})
