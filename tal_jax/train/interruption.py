"""Requests to stop, and processes that hang: both end a command so that it can be started again."""

import math
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

import jax
from jax.experimental import multihost_utils

from tal_jax.errors import RESTART_STATUS, Interrupted


class Interruption:
    """SIGTERM while the block runs, or a notice that the machine is taken away.

    Between steps `reached` says so and the caller saves; elsewhere the signal raises `Interrupted` where it is met,
    which loses nothing: files are written under temporary names. Several processes agree on one step to stop at.
    """

    def __init__(self) -> None:
        self._asked = self._in_steps = False
        self._before: Any = None

    def __enter__(self) -> Self:
        # With several processes JAX's own handler passes the signal on to all of them.
        if not jax.distributed.is_initialized() and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if not self._in_steps:
            raise Interrupted("stopped by SIGTERM: the same command goes on")

    def steps(self, begun: bool) -> None:
        """Says that steps begin, between which the caller asks `reached`, or that they are over."""
        self._in_steps = begun
        if not begun and self._asked:
            raise Interrupted("stopped by SIGTERM: the same command goes on")

    def reached(self, step: int) -> bool:
        """Whether to save and stop after this step; every process must ask after every step."""
        if jax.distributed.is_initialized():
            return bool(multihost_utils.reached_preemption_sync_point(step))
        return self._asked


class Watchdog:
    """Ends this process when no step was taken for `seconds`: another process hangs, and this one would wait for ever.

    The interpreter may be inside a collective that never returns, so no exception can be raised: the process ends with
    one line and `RESTART_STATUS`. It watches from `moved` to `pause`: compiling and predicting take what they take.
    """

    def __init__(self, seconds: float, what: str):
        """Does not watch yet.

        Args:
          seconds: how long a step may take; infinity for a process that waits for no other.
          what: names the work in the line that is printed.
        """
        self._seconds, self._what = seconds, what
        self._seen = math.inf
        self._over = threading.Event()

    def __enter__(self) -> Self:
        if math.isfinite(self._seconds):
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._over.set()

    def moved(self) -> None:
        """Notes that a step was taken, and watches for the next one."""
        self._seen = time.monotonic()

    def pause(self) -> None:
        """Stops watching until the next step: something else begins."""
        self._seen = math.inf

    def _watch(self) -> None:
        while not self._over.wait(min(self._seconds / 10, 5.0)):
            if time.monotonic() - self._seen > self._seconds:
                text = f"{self._what}: no step within {self._seconds:g} s: another process hangs or is lost"
                print(f"error: {text}: start all of them again", file=sys.stderr, flush=True)
                os._exit(RESTART_STATUS)
