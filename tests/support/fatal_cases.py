"""Cases of the fuzz that end their process, hang it, or want all memory; a process of their own imports this."""

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fuzzing import Case

SHARES = {"right": 4, "dies": 1, "sleeps": 1, "hangs": 1, "takes": 1}


def right(rng: random.Random, work: Path) -> None:
    """Returns."""


def dies(rng: random.Random, work: Path) -> None:
    """As native code that reads where it may not."""
    os.kill(os.getpid(), signal.SIGKILL)


def sleeps(rng: random.Random, work: Path) -> None:
    """As a loop in Python that has no end."""
    time.sleep(100)


def hangs(rng: random.Random, work: Path) -> None:
    """As native code, which hears no signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(100)


def takes(rng: random.Random, work: Path) -> None:
    """As a file whose header says that it is large, and is believed."""
    bytearray(64 << 30)


def make(folder: Path, wanted: Sequence[str]) -> dict[str, Case]:
    """All of them."""
    return {"right": right, "dies": dies, "sleeps": sleeps, "hangs": hangs, "takes": takes}
