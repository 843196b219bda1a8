"""Checkpoints of PyTorch systems as stages of a workdir, and a stage as a PyTorch state dict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from tal_jax.convert import state_dict
from tal_jax.convert.families import FAMILIES
from tal_jax.convert.family import Family
from tal_jax.convert.match import parameters_of, snippets_of, tensors_of
from tal_jax.data import atomic
from tal_jax.data.dataset import SPLITS
from tal_jax.data.framing import choose_framing
from tal_jax.devices.mesh import local_mesh
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.stages.config import parse, to_tree
from tal_jax.stages.handover import write_artifact
from tal_jax.stages.lock import locked
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.remembered import read_set
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import Stage, build_stage, remember
from tal_jax.stages.workdir import check_config, has_checkpoint, read_config, write_config
from tal_jax.train.checkpoint import Checkpoints, restore_params
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.step import TrainState
from tal_jax.types import Batch
from tal_jax.words import hint

CONFIG = '''"""The config of this workdir, as config.json beside this file has it."""

import json
from pathlib import Path

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """What the file says now."""
    return ConfigDict(json.loads(Path(__file__).with_name("config.json").read_text()))
'''


@dataclass(frozen=True)
class Converted:
    """What a conversion did."""

    stage: str
    tensors: int  # of the checkpoint, constants included
    parameters: int  # numbers in the model
    changes: tuple[str, ...] = ()  # settings that the family or the checkpoint changed: "key: old -> new"


def convert(family: str, checkpoint: str | Path, config: Mapping[str, Any], workdir: str | Path) -> Converted:
    """Makes a checkpoint the step 0 of the stage of its kind, as if training had written it; a BMN hands proposals on.

    Args:
      family: a name in `FAMILIES`.
      checkpoint: a file of a PyTorch state dict, or .safetensors.
      config: plain nested values; the settings that the family needs replace its own. Stages that the workdir has
        begun keep the sections they were begun with.
      workdir: new, or with other stages; gets config.py too, for launch.train.

    Raises:
      InputError: the checkpoint, the config and the data do not fit together, or the stage has begun already.
    """
    layout, path = _family(family), Path(workdir).absolute()
    given = parse(config)
    name = _stage_of(layout, given, "config")
    if given.population or given.learning_rates:
        raise InputError("config: population and learning_rates are for trainings from random starts: leave them empty")
    tensors = state_dict.read(Path(checkpoint))
    with locked(path):
        if has_checkpoint(path, name):
            raise InputError(f"{path}: stage {name} has begun: choose another --workdir, or remove {path / name}")
        tree, others = _with_begun_stages(given, path, name)
        section = tree["stages"][name]
        snippets = section["data"]["snippets"]
        if not snippets:
            key = f"stages.{name}.data.snippets"
            raise InputError(
                f"config: {key} is 0: give the length that the checkpoint was trained with, "
                f"--config.{key}={snippets_of(layout, tensors) or 'T'}"
            )
        changes = tuple(_apply(section, layout.settings(snippets, tensors), f"stages.{name}"))
        whole = parse(tree)
        stage = build_stage(whole, name, path)
        layout = layout.fitted(whole.stages[name].model)
        _check_channels(layout, tensors, stage, str(checkpoint))
        parameters = parameters_of(layout, tensors, _template(stage), snippets, str(checkpoint))
        nested = flax.traverse_util.unflatten_dict(parameters, sep="/")
        params = {**_beside_weights(stage), "params": jax.tree.map(jnp.asarray, nested)}
        state = _state(stage, params)
        check_config(whole, path, [name, *others])
        write_config(whole, path, [name, *others])
        atomic.write(path / "config.py", CONFIG.encode())
        remember(stage)
        # Proposals first: until there is a checkpoint the stage has not begun, and the command can be repeated.
        _hand_on(stage, params, path)
        checkpoints = Checkpoints(path, name)
        try:
            checkpoints.save(0, state)
            checkpoints.wait()
        finally:
            checkpoints.close()
    return Converted(name, len(tensors), sum(x.size for x in parameters.values()), changes)


def revert(family: str, checkpoint: str | Path, workdir: str | Path) -> Converted:
    """Writes the newest parameters of the stage of the family's kind as the family's state dict.

    Raises:
      InputError: the family cannot express the model, there is no trained stage of its kind, or the file exists.
    """
    layout, path, out = _family(family), Path(workdir).absolute(), Path(checkpoint)
    state_dict.check_new(out)
    config = read_config(path)
    name = _stage_of(layout, config, str(path / "config.json"))
    params = restore_params(path, name)["params"]
    parameters = flax.traverse_util.flatten_dict(params, sep="/")
    snippets = _check_expressible(layout, config, name, path)
    tensors = tensors_of(layout.fitted(config.stages[name].model), parameters, snippets, str(path / name))
    with atomic.writing(out) as temporary:
        state_dict.write(temporary, tensors, out.suffix)
    return Converted(name, len(tensors), sum(x.size for x in parameters.values()))


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise InputError(f"--family={name}: no such family: {hint(name, FAMILIES, 'give one of')}")
    return FAMILIES[name]


def _stage_of(family: Family, config: Config, where: str) -> str:
    for name in config.track:
        if config.stages[name].task == family.method:
            return name
    raise InputError(f"{where}: no {family.method} stage in the track for {family.name}: take another config")


def _with_begun_stages(config: Config, workdir: Path, name: str) -> tuple[dict[str, Any], list[str]]:
    """The config with the stored sections of the track's other stages that have begun, and their names."""
    whole = to_tree(config)
    others = [n for n in config.track if n != name and has_checkpoint(workdir, n)]
    for other in others:
        path = workdir / other / "config.json"
        remedy = f"restore it, or remove the folder {path.parent}"
        stages = own_files.member(path, own_files.read_object(path, remedy), "stages", dict, remedy)
        whole["stages"][other] = own_files.member(path, stages, other, dict, remedy)
    return whole, others


def _apply(section: dict[str, Any], settings: Mapping[str, Mapping[str, Any]], where: str) -> Iterator[str]:
    """Sets the settings in place and returns what changed."""
    for part, values in settings.items():
        own = section.setdefault(part, {})
        for key, value in values.items():
            if _plain(own.get(key)) != _plain(value):
                yield f"{where}.{part}.{key}: {own.get(key)!r} -> {value!r}"
                own[key] = value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _template(stage: Stage) -> dict[str, np.ndarray]:
    """The model's parameters by path, of the right shapes and without memory."""
    try:
        tree = jax.eval_shape(stage.task.init, jax.random.key(0), _example(stage))
    except (ValueError, TypeError) as e:
        raise InputError(f"config: stages.{stage.name}: no such model can be built: {e}") from e
    flat = flax.traverse_util.flatten_dict(tree["params"], sep="/")
    return {k: np.broadcast_to(np.float32(0), x.shape) for k, x in flat.items()}


def _example(stage: Stage) -> Batch:
    row, _ = stage.assembler.training_row(stage.training[0], 0, np.random.default_rng(0))
    return jax.tree.map(lambda x: np.asarray(x)[None], row)


def _beside_weights(stage: Stage) -> dict[str, Any]:
    """What a training begins with beside weights, such as running means; no checkpoint has it."""
    begun = jax.jit(lambda batch: {k: x for k, x in stage.task.init(jax.random.key(0), batch).items() if k != "params"})
    return dict(begun(_example(stage)))


def _check_channels(family: Family, tensors: Mapping[str, np.ndarray], stage: Stage, file: str) -> None:
    needed, given = family.channels(tensors), stage.assembler.width
    if needed is not None and needed != given:
        raise InputError(
            f"{file}: is for features of {needed} channels, {stage.training.directory} has {given}: prepare the "
            "features it was trained on"
        )


def _state(stage: Stage, params: Any) -> TrainState:
    """The state that training would begin with, had it drawn these parameters."""
    optimizer, _ = build_optimizer(stage.section.optimizer, stage.section.steps)
    ema = jax.tree.map(jnp.copy, params) if stage.section.ema_decay > 0 else None
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), ema)


def _hand_on(stage: Stage, params: Any, workdir: Path) -> None:
    if not stage.task.makes:
        return
    splits = stage.training.metadata.splits
    total = sum(splits[s] for s in SPLITS if s in splits)
    with tqdm(total=total, desc=f"{stage.name} proposals", unit="recording", disable=None) as bar:
        predictor = Predictor(stage.task, local_mesh())
        write_artifact(stage, predictor, params, stage.section.batch_size, bar.update)


def _check_expressible(family: Family, config: Config, name: str, workdir: Path) -> int:
    """T of a stage whose settings are those that the family means. Raises InputError: they are not."""
    section, known = config.stages[name], read_set(workdir, name)
    assert known is not None  # its parameters have been read
    metadata, longest = known
    snippets = choose_framing(metadata, longest, **section.data.framing_fields()).snippets
    own = section.model
    other = [
        f"model.{k} is {own.get(k)!r} instead of {v!r}"
        for k, v in family.settings(snippets)["model"].items()
        if _plain(own[k]) != _plain(v)
    ]
    width = sum(metadata.streams[s] for s in config.data.streams or metadata.streams)
    if width % family.groups:
        other.append(f"{width} channels are no multiple of {family.groups}")
    if other:
        raise InputError(
            f"{workdir / name}: {family.name} cannot express this model ({'; '.join(other)}): launch.export takes any"
        )
    return snippets
