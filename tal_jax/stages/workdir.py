"""A workdir's own files: the config of every stage, and which stages are finished."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tal_jax.data import atomic
from tal_jax.devices.processes import first
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.stages.config import parse, to_tree
from tal_jax.stages.sections import Config, StageSection

# Fields of `data` that say how a recording is read.
READ_WITH = ("streams", "normalize")
RESTORE_CONFIG = "restore it, or start the same launch.train again: it writes the file anew"

# These change how a run is watched and saved or where its data lie, not what it computes.
NON_SEMANTIC_KEYS = {"checkpoint", "log_every_steps", "data.dir", "mesh"}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key, in JSON's types; `prefix` comes before every key."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out.update(flat(value, f"{name}."))
        else:
            out[name] = list(value) if isinstance(value, tuple) else value
    return out


def is_semantic(key: str) -> bool:
    """Whether a dotted key changes what a run computes."""
    return not any(key == other or key.startswith(f"{other}.") for other in NON_SEMANTIC_KEYS)


def newest_step(workdir: Path, stage: str) -> int | None:
    """Steps that the newest checkpoint of a stage has taken: 0 for one that was converted; None: there is none."""
    folder = workdir / stage / "checkpoints"
    steps = [int(child.name) for child in folder.iterdir() if child.name.isdigit()] if folder.is_dir() else []
    return max(steps, default=None)


def has_checkpoint(workdir: Path, stage: str) -> bool:
    """Whether a stage has saved anything. Until then a corrected config, or other data, simply replaces the first."""
    return newest_step(workdir, stage) is not None


def check_config(config: Config, workdir: Path, stages: Iterable[str]) -> None:
    """Compares the config with those that the stages which have saved anything were begun with.

    What a stage computes depends on its own section, on `data` and on `seed`, not on its neighbours' sections.

    Args:
      config: the config of the track.
      workdir: the folder of the track.
      stages: the names of the stages to look at.

    Raises:
      InputError: values differ; the text names the first keys.
    """
    for name in stages:
        path = workdir / name / "config.json"
        if not (path.exists() and has_checkpoint(workdir, name)):
            continue
        content = own_files.read_object(path, "restore it")
        stored = flat({**to_tree(_located(parse(_stored(path, name)))), "track": content.get("track", [])})
        wanted = flat(_of_stage(_located(config), name))
        different = [
            f"{k} {stored.get(k)!r} -> {wanted.get(k)!r}"
            for k in sorted(stored.keys() | wanted.keys())
            if stored.get(k) != wanted.get(k) and is_semantic(k)
        ]
        if different:
            raise InputError(
                f"{workdir}: stage {name} belongs to another config ({'; '.join(different[:5])}): choose another "
                f"--workdir, or remove {path.parent} to train it anew"
            )


def write_config(config: Config, workdir: Path, stages: Iterable[str]) -> None:
    """Writes the config for the workdir, and for each of these stages that has saved nothing yet.

    Its paths are written from the root on: the next command may be called in another folder.

    Args:
      config: the config of the track.
      workdir: the folder of the track.
      stages: the names of the stages.
    """
    config, names = _located(config), set(stages)
    for name in names:
        path = workdir / name / "config.json"
        if not (path.exists() and has_checkpoint(workdir, name)):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, json.dumps(_of_stage(config, name), indent=1).encode())
    # A stage that is not asked for, and has begun, is what it was trained as, whatever this config says of it.
    others = {name: _begun(config, workdir, name) for name in config.track if name not in names}
    whole = dataclasses.replace(config, stages={**config.stages, **{k: v for k, v in others.items() if v is not None}})
    atomic.write(workdir / "config.json", json.dumps(to_tree(whole), indent=1).encode())


def _located(config: Config) -> Config:
    """The config with the paths of its set and files from the root on, where this process would look for them."""

    def whole(path: str) -> str:
        return os.path.abspath(path) if path else path

    stages = {
        name: dataclasses.replace(section, files={what: whole(file) for what, file in section.files.items()})
        for name, section in config.stages.items()
    }
    return dataclasses.replace(config, data=dataclasses.replace(config.data, dir=whole(config.data.dir)), stages=stages)


def _of_stage(config: Config, name: str) -> dict[str, Any]:
    tree = to_tree(config)
    return {**tree, "stages": {name: tree["stages"][name]}}


def read_config(workdir: str | os.PathLike) -> Config:
    """The config that a workdir was trained with.

    Raises:
      InputError: it is not a workdir, or one whose config this version does not know.
    """
    path = Path(workdir) / "config.json"
    if not os.path.lexists(path):
        raise InputError(f"{path}: missing: {workdir} is not the workdir of a training (launch.train)")
    content = own_files.read_object(path, RESTORE_CONFIG)
    try:
        config = parse(content)
    except InputError as e:
        raise InputError(f"{path}: written by another version? {e}: correct the file, or train again") from e
    if not config.track:
        raise InputError(f"{path}: damaged, its track names no stage: {RESTORE_CONFIG}")
    for name in config.track:
        _begun(config, Path(workdir), name)
    return config


def changed_since(config: Config, workdir: Path, name: str) -> list[str]:
    """What a workdir's config says of a stage that has begun, and did not when it began; somebody has changed it.

    Args:
      config: what `read_config` returned, as it is or for another set.
      workdir: the folder of the track.
      name: the stage's name.
    """
    begun = _begun(config, workdir, name)
    if begun is None:
        return []
    one, other = (
        flat(_of_stage(c, name)["stages"]) for c in (dataclasses.replace(config, stages={name: begun}), config)
    )
    return [f"stages.{k} {one.get(k)!r} -> {v!r}" for k, v in other.items() if one.get(k) != v]


def _begun(config: Config, workdir: Path, name: str) -> StageSection | None:
    """The section that a stage has begun with, None where it has saved nothing.

    Raises:
      InputError: the file is damaged, or the stage read recordings in another way than the config has it.
    """
    path = workdir / name / "config.json"
    if not (os.path.lexists(path) and has_checkpoint(workdir, name)):
        return None
    begun = parse(_stored(path, name))
    for field in READ_WITH:
        one, other = getattr(config.data, field), getattr(begun.data, field)
        if one != other:
            raise InputError(
                f"{path}: stage {name} was begun with data.{field} {other!r:.60}, {workdir / 'config.json'} says "
                f"{one!r:.60}: restore that file, or train the stage anew (launch.train --stage={name})"
            )
    # Where its artifacts lie may be said anew: they are told by what they were made from.
    return dataclasses.replace(begun.stages[name], files=config.stages[name].files)


def _stored(path: Path, name: str) -> dict[str, Any]:
    """The config that a stage was begun with, as nested values without its track, checked."""
    remedy = f"restore it, or remove the folder {path.parent} to train the stage anew"
    content = own_files.read_object(path, remedy)
    own_files.member(path, own_files.member(path, content, "stages", dict, remedy), name, dict, remedy)
    try:
        parse({key: value for key, value in content.items() if key != "track"})
    except InputError as e:
        raise InputError(f"{path}: of another version? {e}: {remedy}") from e
    return {key: value for key, value in content.items() if key != "track"}


def finished(workdir: Path, stage: str) -> bool:
    """Whether a stage has taken all its steps and written its artifact.

    Raises:
      InputError: the file that says so is damaged.
    """
    return _finished(workdir, stage) is not None


def mark_finished(workdir: Path, stage: str, steps: int, parameters: str = "") -> None:
    """Marks a stage as finished, after all else is written.

    Args:
      workdir: the folder of the track.
      stage: the stage's name.
      steps: how many steps it has taken.
      parameters: the digest of the parameters that its artifact was made with; "" without an artifact.
    """
    if first():
        content = {"steps": steps, "parameters": parameters}
        atomic.write(workdir / stage / "finished.json", json.dumps(content).encode())


def finished_parameters(workdir: Path, stage: str) -> str:
    """The digest of parameters that `mark_finished` wrote; "" where there is none.

    Raises:
      InputError: the file is damaged.
    """
    return str((_finished(workdir, stage) or {}).get("parameters", ""))


def _finished(workdir: Path, stage: str) -> dict[str, Any] | None:
    """What `mark_finished` wrote, None where it has not been called."""
    path = workdir / stage / "finished.json"
    if not os.path.lexists(path):
        return None
    remedy = f"remove it and start launch.train --workdir={workdir} again: it goes on from the last checkpoint"
    content = {"parameters": "", **own_files.read_object(path, remedy)}
    own_files.member(path, content, "steps", int, remedy)
    own_files.member(path, content, "parameters", str, remedy)
    return content
