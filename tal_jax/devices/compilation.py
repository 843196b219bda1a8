"""Compiling steps: once on a machine, read from disk afterwards, and without keeping the memory that it took."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.experimental.compilation_cache import compilation_cache

PROGRAMS = 4  # of a kind that a process keeps: enough for the stages of a track
Made = TypeVar("Made")


def use_cache(directory: str | os.PathLike | None = None) -> Path:
    """Turns the cache on for this process.

    Args:
      directory: the folder of the cache; None takes JAX_COMPILATION_CACHE_DIR, or tal_jax/compiled in the user's cache
        folder.

    Returns:
      The folder. It may be shared by machines: what is compiled for a CPU is valid on the same kind of CPU only, so
      each kind has a folder of its own.
    """
    given = directory or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if given:
        path = Path(given)
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        path = Path(base) / "tal_jax" / "compiled" / _machine()
    jax.config.update("jax_compilation_cache_dir", str(path))
    return path


@contextlib.contextmanager
def no_cache() -> Iterator[None]:
    """Compiles without the persistent cache: what is compiled for a device that is not here cannot be read back."""
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()  # JAX asks only once whether there is one
    try:
        yield
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        compilation_cache.reset_cache()


def compile_step(step: Any, *arguments: Any) -> Any:
    """Compiles a jitted function for arguments like these, and gives what compiling took back to the system.

    The C library keeps freed memory in case it is needed again: 250 MB after compiling TCANet's training step, beside
    which the step's own buffers would come to lie.
    """
    compiled = step.lower(*arguments).compile()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not the GNU C library
        ctypes.CDLL(None).malloc_trim(0)
    return compiled


def made_once(make: Callable[..., Made]) -> Callable[..., Made]:
    """`make`, which makes programs, with what it made last kept: equal arguments get the same programs again.

    Rows and seeds of a study, members of an ensemble and detection after a training are the same programs in one
    process: traced and compiled once. Arguments that have no hash are no key, and nothing is kept for them.
    """
    kept = functools.lru_cache(PROGRAMS)(make)

    @functools.wraps(make)
    def ask(*arguments: Any, **named: Any) -> Made:
        try:
            hash((arguments, *named.values()))
        except TypeError:
            return make(*arguments, **named)
        return kept(*arguments, **named)

    return ask


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        kind = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
