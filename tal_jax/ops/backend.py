"""Which backend an operation is compiled for: it decides between forms that compute the same."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import jax

_TARGET: ContextVar[str] = ContextVar("backend", default="")


def backend() -> str:
    """That of `compiling_for`, else the one at hand: cpu, gpu or tpu."""
    return _TARGET.get() or jax.default_backend()


@contextlib.contextmanager
def compiling_for(name: str) -> Iterator[None]:
    """What is traced in the block will run on another backend than the one at hand."""
    token = _TARGET.set(name)
    try:
        yield
    finally:
        _TARGET.reset(token)
