"""A config as plain nested values, as the sections that it is made of, and as what differs from their defaults."""

import collections.abc
import dataclasses
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import yaml
from ml_collections import ConfigDict

from tal_jax.errors import InputError
from tal_jax.guarded.own_files import is_plain_name
from tal_jax.stages.methods import find_method
from tal_jax.stages.sections import Config, StageSection
from tal_jax.stages.task_fields import Fields, model_fields, option_fields
from tal_jax.words import hint, nearest

# Keys of a stage, of its model and of its options that older versions wrote, and what they are called now.
RENAMED = {"trimmed": "clip_features", "top": "topk_ratio", "sharpen": "oic_updates_cas"}
# Fields of a section that are no keys themselves: the keys come from what the task declares.
OWN_FIELDS = ("kind", "files", "settings")
ALIKE: dict[type, tuple[type, ...]] = {
    bool: (bool,), int: (int,), float: (int, float), str: (str,), tuple: (tuple,), dict: (Mapping,),
}  # fmt: skip


def default_config(**stages: str) -> ConfigDict:
    """A config of all keys with their defaults, to be changed in place.

    Args:
      **stages: the track: the name of each stage, in order, with its method, see `methods.find_method`.

    Raises:
      InputError: there is no such method.
    """
    return ConfigDict(to_tree(parse({"track": tuple(stages), "stages": {k: {"task": v} for k, v in stages.items()}})))


def with_defaults(config: ConfigDict) -> ConfigDict:
    """The config with every key that it lacks, so that all can be changed; what is linked in it stays linked.

    Raises:
      InputError: see `parse`.
    """
    whole = ConfigDict(config)  # a copy that keeps references between keys
    _fill(whole.unlock(), to_tree(parse(config.to_dict())))
    return whole


def _fill(config: ConfigDict, tree: Mapping[str, Any]) -> None:
    for key in list(config):
        if key not in tree:
            del config[key]  # an older name, whose value the tree has under the new one
    for key, value in tree.items():
        if key not in config:
            config[key] = ConfigDict(value) if isinstance(value, Mapping) else value
        elif isinstance(config[key], ConfigDict) and isinstance(value, Mapping):
            _fill(config[key], value)


def default_stage(method: str) -> ConfigDict:
    """The section of a stage of this method with its defaults; errors as of `methods.find_method`."""
    return ConfigDict(_stage_tree(_stage({"task": method}, "stages.NAME")))


def parse(tree: Mapping[str, Any] | Config) -> Config:
    """The sections of a config; keys that it lacks have their defaults.

    Args:
      tree: plain nested values (`ConfigDict.to_dict()`, or the JSON of a workdir). A `Config` is returned unchanged.

    Raises:
      InputError: a key does not exist (the text suggests the nearest), a value is of another type than its default, or
        there is no such method.
    """
    if isinstance(tree, Config):
        return tree
    found = _section(Config(), {k: v for k, v in tree.items() if k != "stages"}, "", more=("stages",))
    stages = tree.get("stages", {})
    if not isinstance(stages, Mapping):
        raise InputError(f"config: stages: sections by the names of stages are expected, not {stages!r:.60}")
    for name in stages:
        if not is_plain_name(name):
            raise InputError(
                f"config: stages: {name!r:.60} cannot be the name of a stage, which names a folder: rename it"
            )
    sections = {str(name): _stage(section, f"stages.{name}") for name, section in stages.items()}
    config = dataclasses.replace(found, stages=sections)
    for name in config.track:
        if name not in sections:
            raise InputError(f"config: track: no stage {name!r}: {hint(name, sections)}")
    return config


def to_tree(config: Config) -> dict[str, Any]:
    """Plain nested values of all keys: the inverse of `parse`."""
    tree = {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config) if f.name != "stages"}
    return {**tree, "stages": {name: _stage_tree(section) for name, section in config.stages.items()}}


def differences(config: Config) -> dict[str, Any]:
    """Plain nested values of the keys that differ from the defaults, with the method of every stage."""
    tasks = {name: {"task": section.task} for name, section in config.stages.items()}
    default = to_tree(parse({"stages": tasks}))
    found = _difference(to_tree(config), default)
    stages = found.get("stages", {})
    return {**found, "stages": {name: {**task, **stages.get(name, {})} for name, task in tasks.items()}}


def as_text(tree: Mapping[str, Any]) -> str:
    """Plain nested values as YAML, keys in their order."""
    return yaml.safe_dump(_lists(tree), sort_keys=False, default_flow_style=None, width=120).rstrip()


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple) else value


def check_key(key: str, names: Iterable[str], where: str) -> None:
    """Raises InputError for a key that is not among the names; the text suggests the nearest.

    Args:
      key: the key as given.
      names: the keys that there are.
      where: the dotted name of its section, for the message; "" for the whole config.
    """
    known = sorted(names)
    if not isinstance(key, str):
        raise InputError(f"config: {where or 'the whole'}: keys are text, not {key!r:.60}")
    if key not in known:
        new = RENAMED.get(key)
        told = f"it is called {new!r} now" if new in known else nearest(key, known)
        told = told or f"known keys: {', '.join(known)}"
        raise InputError(f"config: {f'{where}.' if where else ''}{key}: no such key: {told}")


def _stage(tree: Any, where: str) -> StageSection:
    if not isinstance(tree, Mapping):
        raise InputError(f"config: {where}: a section is expected, not {tree!r:.60}")
    if not tree.get("task"):
        raise InputError(f"config: {where}.task: says which method it is; it is missing")
    kind = find_method(tree["task"], f"{where}.task")
    settings = [f.name for f in dataclasses.fields(kind.settings)]
    tree = _renamed(tree, (*kind.accepts, *settings))
    own = {k: v for k, v in tree.items() if k not in (*kind.accepts, *settings, "model", "options")}
    blank = StageSection(str(tree["task"]))
    section = _section(blank, own, where, more=(*kind.accepts, *settings, "model", "options"), hidden=OWN_FIELDS)
    return dataclasses.replace(
        section,
        kind=kind,
        model=_values(tree.get("model", {}), model_fields(kind), f"{where}.model"),
        options=_values(tree.get("options", {}), option_fields(kind), f"{where}.options"),
        files={name: _typed(tree.get(name, ""), "", f"{where}.{name}") for name in kind.accepts},
        settings=_section(kind.settings(), {k: tree[k] for k in settings if k in tree}, where),
    )


def _stage_tree(section: StageSection) -> dict[str, Any]:
    fields = [f.name for f in dataclasses.fields(section) if f.name not in OWN_FIELDS]
    tree = {name: _plain(getattr(section, name)) for name in fields}
    return {**tree, **section.files, **_plain(section.settings)}


def _section(default: Any, tree: Any, where: str, *, more: Iterable[str] = (), hidden: Iterable[str] = ()) -> Any:
    """A dataclass with the values of its section; a field that is a dataclass has a section of its own."""
    if not isinstance(tree, Mapping):
        raise InputError(f"config: {where}: a section is expected, not {tree!r:.60}")
    names = [f.name for f in dataclasses.fields(default) if f.name not in hidden]
    hints = typing.get_type_hints(type(default))
    values = {}
    for key, value in tree.items():
        check_key(key, (*names, *more), where)
        own, at = getattr(default, key), f"{where}.{key}" if where else key
        nested = dataclasses.is_dataclass(own)
        values[key] = _section(own, value, at) if nested else _typed(value, own, at)
        _check_elements(values[key], hints[key], at)
    return dataclasses.replace(default, **values)


def _check_elements(value: Any, hint: Any, where: str) -> None:
    """Raises InputError where a tuple or mapping holds something else than its field's type says."""
    if typing.get_origin(hint) not in (tuple, Mapping, collections.abc.Mapping):
        return
    kind = typing.get_args(hint)[0 if isinstance(value, tuple) else 1]
    for element in value if isinstance(value, tuple) else value.values():
        if not isinstance(element, ALIKE.get(kind, (object,))):
            raise InputError(f"config: {where}: {element!r:.60}: expected values of type {kind.__name__}")


def _values(tree: Any, fields: Fields, where: str) -> dict[str, Any]:
    """The defaults of the fields, with the tree's values in the place of those that it has."""
    if not isinstance(tree, Mapping):
        raise InputError(f"config: {where}: a section is expected, not {tree!r:.60}")
    found, names = fields.tree(), (*fields.defaults, *fields.nested)
    for key, value in _renamed(tree, names).items():
        check_key(key, names, where)
        inner, at = fields.nested.get(key), f"{where}.{key}"
        found[key] = _typed(value, fields.defaults[key], at) if inner is None else _values(value, inner, at)
    return found


def _renamed(tree: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The tree with the present names of its keys, where these are among the section's names and the old ones not."""
    known = set(names)
    return {RENAMED[k] if k not in known and RENAMED.get(k) in known - tree.keys() else k: v for k, v in tree.items()}


def _typed(value: Any, default: Any, where: str) -> Any:
    """A value of the default's type: lists become tuples, whole numbers numbers. Of None and NO_DEFAULT: any type."""
    found = _tuples(value)
    if isinstance(default, float) and type(found) is int:
        found = float(found)
    number = type(default) in (int, float)
    if not isinstance(found, ALIKE.get(type(default), (object,))) or (isinstance(found, bool) and number):
        raise InputError(f"config: {where}: {value!r:.60}: expected a value such as {default!r}")
    return found


def _tuples(value: Any) -> Any:
    """Plain values with tuples for lists and Python's own numbers for NumPy's."""
    if isinstance(value, Mapping):
        return {key: _tuples(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(map(_tuples, value))
    return value.item() if isinstance(value, np.generic) else value


def _plain(value: Any) -> Any:
    """A section's values, nested."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _difference(tree: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        own = default.get(key)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            inner = _difference(value, own)
            if inner:
                found[key] = inner
        elif value != own:
            found[key] = value
    return found
