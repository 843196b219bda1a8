"""Batching: recordings from many callers, detected together by one thread.

Fairness: the unit of work is a window, and recordings take turns. A batch serves the stage that the recording at the
head of the queue has come to, with one window of each recording there, then a second one of each, until it is full. Who
has windows left goes to the end of the queue, who goes on to the next stage keeps its place. So a recording of one
window waits for the batch that runs and for one window of each recording before it, however many windows those have;
and a long one gets a window in every round.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np

from tal_jax.deploy.model import Model, ResolvedRecording, Stage
from tal_jax.deploy.runtimes import Program
from tal_jax.windows import WindowDetections


class Job:
    """A recording on its way through the stages."""

    def __init__(self, known: ResolvedRecording, stage: Stage):
        self.known = known
        self.future: Future[WindowDetections] = Future()
        self.stage = 0
        self.begin(stage)

    def begin(self, stage: Stage) -> None:
        """Moves the recording on to a stage, with all of its windows still to do."""
        self.windows = stage.windows_of(self.known)
        self.found: list[WindowDetections] = []
        self.taken = 0

    @property
    def left(self) -> int:
        """How many windows no batch has taken yet."""
        return len(self.windows) - self.taken

    def take(self) -> tuple[ResolvedRecording, float]:
        """Takes the next window: the recording, and where the window starts in it, in stored snippets."""
        self.taken += 1
        return self.known, self.windows[self.taken - 1]


class Full(Exception):
    """Raised where so many recordings wait that no more can."""


class Batcher:
    """A queue of recordings, and the one thread that computes their detections."""

    def __init__(
        self,
        model: Model,
        *,
        max_batch: int,
        max_delay: float,
        max_waiting: int,
        on_batch: Callable[[str, int, int, float], None] = lambda stage, rows, size, seconds: None,
    ):
        """Does nothing yet: see `programs` and `start`.

        Args:
          model: the model that detects.
          max_batch: how many windows are computed together at most, a power of two.
          max_delay: seconds that an idle thread waits for others to join a first recording.
          max_waiting: how many recordings may be in the queue or at work.
          on_batch: called after each batch with its stage, its windows, its windows with padding, and its seconds.
        """
        self.model = model
        self.sizes = [1 << i for i in range(max_batch.bit_length())]
        self.seconds = {(i, size): math.nan for i in range(len(model.stages)) for size in self.sizes}
        self._max_delay, self._max_waiting, self._on_batch = max_delay, max_waiting, on_batch
        self._queue: list[Job] = []
        self._change = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="compute")

    def programs(self, max_snippets: int) -> list[tuple[str, Callable[[], None]]]:
        """The functions to call once so that all is compiled that recordings need, each with its name.

        They time the batches as well: `_choose` compares their sizes.

        Args:
          max_snippets: how many stored snippets the longest recording may have.
        """
        programs: list[tuple[str, Callable[[], None]]] = []
        for i, stage in enumerate(self.model.stages):
            for size in self.sizes:
                programs.append((f"{stage.name}, batches of {size}", partial(self._compile, i, size)))
            if len(stage.framing.offsets(max_snippets)) > 1:
                for size, merge in stage.merges.items():
                    programs.append((f"{stage.name}, merging {size} detections", partial(_compile_merge, merge, size)))
        return programs

    def _compile(self, index: int, size: int) -> None:
        stage, rng = self.model.stages[index], np.random.default_rng(0)
        t = stage.framing.snippets
        known = ResolvedRecording(
            id="of noise",
            streams=[rng.normal(size=(t, c)).astype(np.float32) for c in self.model.streams.values()],
            stride=1.0,
            duration=float(t),
            proposals=(np.array([[0.0, float(t)]]), np.ones(1, np.float32)),
            class_scores=np.full(len(self.model.labels), 0.5, np.float32),
        )
        stage.run([(known, 0.0)], size)
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            stage.run([(known, 0.0)] * size, size)
            times.append(time.perf_counter() - begin)
        self.seconds[index, size] = min(times)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many recordings are in the queue or at work."""
        return len(self._queue)

    @property
    def backlog(self) -> float:
        """About how many seconds of work are waiting."""
        each = sum(self.seconds[i, self.sizes[-1]] for i in range(len(self.model.stages))) / self.sizes[-1]
        with self._change:
            return each * sum(job.left for job in self._queue)

    def submit(self, known: ResolvedRecording) -> Future[WindowDetections]:
        """Puts a recording into the queue; cancelling its future takes it out again.

        Returns:
          The future of its detections, in seconds.

        Raises:
          Full: too many recordings wait already.
        """
        job = Job(known, self.model.stages[0])
        with self._change:
            if len(self._queue) >= self._max_waiting or self._closing:
                raise Full
            self._queue.append(job)
            self._change.notify()
        return job.future

    def close(self) -> None:
        """Finishes what was submitted, and ends the thread."""
        with self._change:
            self._closing = True
            self._change.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._change:
                idle = not self._queue
                self._change.wait_for(lambda: self._queue or self._closing)
                if idle and self._max_delay:
                    self._change.wait_for(
                        lambda: len(self._queue) >= self.sizes[-1] or self._closing, timeout=self._max_delay
                    )
                self._queue = [job for job in self._queue if not job.future.cancelled()]
                if not self._queue and self._closing:
                    return
                chosen = self._choose()
            if chosen:
                self._run(chosen)

    def _choose(self) -> list[Job]:
        """The recordings of the next batch, each as often as it has windows in it."""
        if not self._queue:
            return []
        stage = self._queue[0].stage
        there = [job for job in self._queue if job.stage == stage]
        total = sum(job.left for job in there)
        # On CPUs a batch of 16 for 9 windows takes longer than one of 8 and one of 1; on other devices it does not.
        size = min(self.sizes, key=lambda size: self.seconds[stage, size] / min(size, total))
        chosen: list[Job] = []
        turn = 0
        while len(chosen) < min(size, total):
            chosen += [job for job in there if job.left > turn][: size - len(chosen)]
            turn += 1
        served = {id(job) for job in chosen}
        again = [job for job in there if id(job) in served and job.left > chosen.count(job)]
        self._queue = [job for job in self._queue if job not in again] + again
        return chosen

    def _run(self, chosen: Sequence[Job]) -> None:
        """Computes a batch; where it fails, each recording by itself, so that one at fault harms no other."""
        index = chosen[0].stage
        stage = self.model.stages[index]
        rows = [job.take() for job in chosen]
        try:
            self._run_rows(index, rows, chosen)
        except Exception as e:
            for job in dict.fromkeys(chosen):
                try:
                    if len(set(chosen)) == 1:
                        raise e
                    own = [row for row, other in zip(rows, chosen, strict=True) if other is job]
                    self._run_rows(index, own, [job] * len(own))
                except Exception as own_fault:
                    self._end(job, own_fault)
        for job in dict.fromkeys(chosen):
            if len(job.found) == len(job.windows) and not job.future.done():
                try:
                    self.model.finish(stage, job.known, job.found)
                    if job.stage + 1 < len(self.model.stages):
                        job.stage += 1
                        job.begin(self.model.stages[job.stage])
                    else:
                        self._end(job, None)
                except Exception as e:
                    self._end(job, e)

    def _run_rows(self, index: int, rows: Sequence[tuple[ResolvedRecording, float]], jobs: Sequence[Job]) -> None:
        stage, size = self.model.stages[index], 1 << (len(rows) - 1).bit_length()
        begin = time.perf_counter()
        found = stage.run(rows, size)
        self._on_batch(stage.name, len(rows), size, time.perf_counter() - begin)
        for job, one in zip(jobs, found, strict=True):
            job.found.append(one)

    def _end(self, job: Job, fault: Exception | None) -> None:
        with self._change:
            if job in self._queue:
                self._queue.remove(job)
        if not job.future.set_running_or_notify_cancel():
            return
        if fault is None:
            assert job.known.found is not None
            job.future.set_result(job.known.found)
        else:
            job.future.set_exception(fault)


def _compile_merge(merge: Program, size: int) -> None:
    shapes = {"segments": (1, size, 2), "labels": (1, size), "scores": (1, size), "mask": (1, size)}
    types = {"segments": np.float32, "labels": np.int32, "scores": np.float32, "mask": bool}
    merge({name: np.zeros(shape, types[name]) for name, shape in shapes.items()})
