"""Packages that are functions too: `tal_jax.train(..)` trains, and `tal_jax.train.loop` is a module of the package."""

import importlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any


class CallableModule(types.ModuleType):
    """A package of `tal_jax` that may be called as the function of its name in `tal_jax.api`."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Calls the function of `tal_jax.api` and returns what it does."""
        return self._function()(*arguments, **named)

    @property
    def __signature__(self) -> inspect.Signature:
        """The function's signature, for `help` and `inspect`."""
        return inspect.signature(self._function())

    def _function(self) -> Callable[..., Any]:
        return getattr(importlib.import_module("tal_jax.api"), self.__name__.rpartition(".")[2])


def make_callable(name: str) -> None:
    """Makes the package of this name callable; its `__init__` calls this while it is imported."""
    sys.modules[name].__class__ = CallableModule
