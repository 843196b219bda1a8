"""How a command's C library hands out memory: it is started again, once, with settings that suit a training.

Buffers of a training step on a CPU are fresh memory in every step, and the kernel clears it page by page. With pages of
2 MiB instead of 4 KiB that takes less, and with memory that the process keeps from step to step nothing at all: a step
of TCANet at T = 1000 with two recordings takes 2.1 s of CPU time instead of 2.9, one of TSM's ResNet-50 5.9 instead of
7.1. The GNU C library reads its settings only when a process starts.
"""

import itertools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

NAME = "GLIBC_TUNABLES"
LARGE_PAGES = {"glibc.malloc.hugetlb": "1"}
# Blocks of any size come from the one heap of the process, the end of which is never given back.
KEPT = {"glibc.malloc.mmap_max": "0", "glibc.malloc.arena_max": "1", "glibc.malloc.trim_threshold": str(2**44)}
LARGE_PAGES_SINCE, KEPT_SINCE = (2, 35), (2, 26)  # versions of the library
MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GIVES_BACK = ("serve",)  # waits for most of its life


def ask_for(arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
    """Starts this process again with the settings where they help; the process keeps its id and its open files.

    Not with another C library, not what GLIBC_TUNABLES says something about already (`GLIBC_TUNABLES=
    glibc.malloc.hugetlb=0:glibc.malloc.mmap_max=65536` turns all of it off), and only for a command.
    """
    arguments = arguments or sys.orig_argv
    command = command_of(arguments)
    if command is None:
        return
    changed = wanted(os.environ if environment is None else environment, keeps=command not in GIVES_BACK)
    if changed is not None:
        os.execve(sys.executable, [sys.executable, *arguments[1:]], changed)


def command_of(arguments: Sequence[str]) -> str | None:
    """X where a process of this command line runs `python -m launch.X`, `tal-jax X` or `python -m tal_jax X`."""
    if len(arguments) > 1 and Path(arguments[1]).name == "tal-jax":  # the script that an installation makes
        return next(iter(arguments[2:]), "")
    for position, (flag, name) in enumerate(itertools.pairwise(arguments)):
        if flag == "-m" and name == "tal_jax":
            return next(iter(arguments[position + 2 :]), "")
        if flag == "-m" and name.startswith(("launch.", "tal_jax.launch.")):
            return name.rpartition(".")[2]
    return None


def wanted(environment: Mapping[str, str], mode: Path = MODE, *, keeps: bool = True) -> dict[str, str] | None:
    """The environment to start again with; None where the process is to go on as it was started.

    Args:
      environment: the environment of this process.
      mode: the file in which the kernel says when it gives large pages.
      keeps: whether the process keeps the memory that it had once.
    """
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError, AttributeError):
        return None
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", library)
    if not found:
        return None
    version = tuple(map(int, found.groups()))
    told = environment.get(NAME, "")
    asked: dict[str, str] = {}
    if version >= LARGE_PAGES_SINCE and _on_request(mode) and not any(name in told for name in LARGE_PAGES):
        asked |= LARGE_PAGES
    if keeps and version >= KEPT_SINCE and not any(name in told for name in KEPT):
        asked |= KEPT
    if not asked:
        return None
    return {**environment, NAME: ":".join(filter(None, [told, *(f"{name}={value}" for name, value in asked.items())]))}


def _on_request(mode: Path) -> bool:
    """Whether the kernel gives large pages to those who ask, and not to all or none."""
    try:
        return "[madvise]" in mode.read_text()
    except (OSError, ValueError):
        return False
