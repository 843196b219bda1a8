"""Large pages for a command's memory: it is started again, once, with a C library that asks for them.

Buffers of a training step on a CPU are fresh memory in every step, and the kernel clears it page by page: with pages of
2 MiB instead of 4 KiB a step of TCANet at T = 1000 takes a fifth less time. The GNU C library reads the setting only
when a process starts.
"""

import itertools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb"
MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def ask_for(arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
    """Starts this process again with large pages where that helps; the process keeps its id and its open files.

    Not where the system gives them anyway or never, not with another C library, not when GLIBC_TUNABLES says something
    about them already (`GLIBC_TUNABLES=glibc.malloc.hugetlb=0` turns this off), and only for a command.
    """
    arguments = arguments or sys.orig_argv
    changed = wanted(os.environ if environment is None else environment)
    if changed is not None and is_command(arguments):
        os.execve(sys.executable, [sys.executable, *arguments[1:]], changed)


def is_command(arguments: Sequence[str]) -> bool:
    """Whether a process of this command line runs `python -m launch.X`, `tal-jax X` or `python -m tal_jax X`."""
    if len(arguments) > 1 and Path(arguments[1]).name == "tal-jax":  # the script that an installation makes
        return True
    modules = [b for a, b in itertools.pairwise(arguments) if a == "-m"]
    return any(name == "tal_jax" or name.startswith(("launch.", "tal_jax.launch.")) for name in modules)


def wanted(environment: Mapping[str, str], mode: Path = MODE) -> dict[str, str] | None:
    """The environment to start again with; None where the process is to go on as it was started.

    Args:
      environment: the environment of this process.
      mode: the file in which the kernel says when it gives large pages.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
        on_request = "[madvise]" in mode.read_text()
    except (OSError, ValueError, AttributeError):
        return None
    version = re.fullmatch(r"glibc (\d+)\.(\d+).*", library)
    if TUNABLE in tunables or not on_request or not version or tuple(map(int, version.groups())) < (2, 35):
        return None
    return {**environment, "GLIBC_TUNABLES": ":".join(filter(None, [tunables, f"{TUNABLE}=1"]))}
