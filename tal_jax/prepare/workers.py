"""Runs tasks in parallel processes: the first error ends all of them, and none outlives the main process."""

import concurrent.futures
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tal_jax.errors import InputError

T = TypeVar("T")
_stop: multiprocessing.synchronize.Event | None = None


def run(task: Callable[[T, Callable[[], bool]], Any], arguments: Sequence[T], workers: int) -> Iterator[T]:
    """Calls `task(argument, stop)` for all arguments; `stop()` turns true when another task has failed.

    Args:
      task: a top-level function, as processes are spawned; it should call `stop` often and raise when that is true.
      arguments: what each task gets, picklable.
      workers: number of processes; with one, or one task, everything runs in this process.

    Yields:
      Each argument when its task is done, in any order.

    Raises:
      InputError: a worker was killed from outside.
      Exception: the first that a task raised.
    """
    if workers == 1 or len(arguments) <= 1:
        for argument in arguments:
            task(argument, _never)
            yield argument
        return
    context = multiprocessing.get_context("spawn")  # forking a process that has threads can deadlock
    stop = context.Event()
    executor = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(arguments)), mp_context=context, initializer=_initialize, initargs=(stop,)
    )
    try:
        futures = {executor.submit(_call, task, argument): argument for argument in arguments}
        for future in concurrent.futures.as_completed(futures):
            future.result()
            yield futures[future]
    except BrokenProcessPool as e:
        raise InputError("a worker process was killed, probably for want of memory: give fewer --workers") from e
    finally:
        stop.set()
        executor.shutdown(cancel_futures=True)


def _initialize(stop: multiprocessing.synchronize.Event) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process says when to stop
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the main process was killed: an idle worker would wait for it forever


def _call(task: Callable[[T, Callable[[], bool]], Any], argument: T) -> None:
    task(argument, _stop.is_set if _stop is not None else _never)


def _never() -> bool:
    return False
