"""The keys that a task's class gives to its stage's section: fields of its module and of itself, and their defaults."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from tal_jax.tasks.task import DTYPES, Task, is_task, model_type

NO_DEFAULT = object()


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a class that a config may set."""

    defaults: Mapping[str, Any]  # plain values, NO_DEFAULT for a field without one
    nested: Mapping[str, "Fields"]  # fields that are modules, tasks or structs: sections of their own

    def tree(self) -> dict[str, Any]:
        """The defaults, nested."""
        own = {name: value for name, value in self.defaults.items() if value is not NO_DEFAULT}
        return {**own, **{name: fields.tree() for name, fields in self.nested.items()}}


def model_fields(kind: type[Task]) -> Fields:
    """Those of a task's module. Fields that come from the data have no default, and may be set nevertheless."""
    return _fields(model_type(kind), kind.from_data, kind.left_open)


def option_fields(kind: type[Task]) -> Fields:
    """Those of a task itself."""
    return _fields(kind, (), {})


def _fields(cls: Any, from_data: tuple[str, ...], left_open: Mapping[str, Any]) -> Fields:
    defaults: dict[str, Any] = {}
    nested: dict[str, Fields] = {}
    for field in dataclasses.fields(cls):
        name, kind = field.name, field.type
        if (name in ("parent", "name") and issubclass(cls, nn.Module)) or (name == "model" and issubclass(cls, Task)):
            continue
        value: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        if isinstance(kind, type) and issubclass(kind, nn.Module):
            nested[name] = _fields(kind, from_data, left_open.get(name, {}))
        elif is_task(kind):
            nested[name] = option_fields(kind)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            nested[name] = _fields(type(value), (), vars(value))
        elif name in left_open:
            defaults[name] = left_open[name]
        elif value is dataclasses.MISSING or name in from_data:
            defaults[name] = NO_DEFAULT
        elif is_plain(plain(value)):
            defaults[name] = plain(value)
    return Fields(defaults, nested)


def plain(value: Any) -> Any:
    """The value as a config has it: types of numbers by their names, all else as it is."""
    names = {kind: name for name, kind in DTYPES.items()}
    try:
        return names.get(value, value)
    except TypeError:  # not hashable
        return value


def is_plain(value: Any) -> bool:
    """Whether a value is one of JSON's, or a tuple of such: functions and objects are for Python alone."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, np.generic))
