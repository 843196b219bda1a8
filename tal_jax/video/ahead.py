"""Work on several files at once, in threads, ahead of whoever takes the results; one that fails ends itself alone.

Decoding, colour conversion and resizing run outside of Python's lock, so that threads keep all cores busy without
copying images between processes.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tal_jax.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Piece(Generic[T]):
    """A result of one job, or its end."""

    job: int
    item: T | None = None
    error: InputError | None = None  # what the job ended with

    @property
    def ends(self) -> bool:
        """Whether it is the job's last."""
        return self.item is None


def ahead(jobs: Sequence[Callable[[], Iterator[T]]], threads: int, waiting: int) -> Generator[Piece[T], None, None]:
    """Runs iterators in threads, each job in one of them from beginning to end, the first jobs first.

    Args:
      jobs: make the iterators.
      threads: how many jobs run at a time.
      waiting: how many results may wait to be taken; threads pause when there are more.

    Yields:
      Of every job its items in order, then its end; those of different jobs come as they are made.

    Raises:
      Exception: what a job raised, other than `InputError`, which ends that job alone.
    """
    results: queue.Queue[Piece[T] | BaseException] = queue.Queue(waiting)
    stop = threading.Event()
    order = iter(range(len(jobs)))
    lock = threading.Lock()

    def put(result: Piece[T] | BaseException) -> bool:
        while not stop.is_set():
            try:
                results.put(result, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        while not stop.is_set():
            with lock:
                job = next(order, None)
            if job is None:
                return
            try:
                end = Piece[T](job)
                try:
                    for item in jobs[job]():
                        if not put(Piece(job, item)):
                            return
                except InputError as e:
                    end = Piece(job, error=e)
                put(end)
            except BaseException as e:  # a bug: the taker is told, instead of waiting for ever
                put(e)
                return

    workers = [threading.Thread(target=work, name=f"decoder {i}", daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(len(jobs)):
            while True:
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                yield result
                if result.ends:
                    break
    finally:
        stop.set()
        for worker in workers:
            worker.join()
