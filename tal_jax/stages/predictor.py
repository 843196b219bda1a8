"""Prediction: every recording of a split once, its windows merged, in seconds."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from tal_jax.data.dataset import Split
from tal_jax.data.rows import Assembler
from tal_jax.devices.compilation import made_once
from tal_jax.devices.mesh import by_row, put_batch, replicated
from tal_jax.devices.processes import gather, share
from tal_jax.errors import InputError
from tal_jax.evaluation.segment_table import SegmentTable, segment_table, table_of
from tal_jax.frames import Frame, by_recording
from tal_jax.stages.map_frames import map_frames
from tal_jax.tasks.task import Params, Task
from tal_jax.types import Batch, Detections
from tal_jax.windows import Window, WindowDetections, concatenated, is_finite


class Predictor:
    """A task's compiled prediction step over a mesh of this process's devices; compiled once for equal tasks.

    Args:
      task: predicts and merges.
      mesh: the devices.
      predict: takes the place of `task.predict`; its first argument is whatever the calls give as `params`.
    """

    def __init__(self, task: Task, mesh: Mesh, predict: Callable[[Any, Batch], Detections] | None = None):
        self._mesh = mesh
        # A function of the caller's may hold on to much, and nobody else has it.
        self._merge, self._step = _jitted(task, mesh, predict) if predict else _programs(task, mesh)

    def __call__(
        self,
        params: Params,
        split: Split,
        assembler: Assembler,
        *,
        index: np.ndarray,
        batch_size: int,
        advance: Callable[[int], Any] = lambda n: None,
    ) -> SegmentTable:
        """Detections of the given recordings, which several processes share out; each gets the whole table.

        Args:
          params: the task's parameters.
          split: the split whose records are read.
          assembler: makes rows of records.
          index: [N] positions of the recordings in the split.
          batch_size: rows of this process in a step, rounded up to a multiple of its devices.
          advance: called with the number of recordings that were finished.

        Returns:
          A table in seconds, recordings in the order of the index; `recording` is the position in the split.
        """
        frames = map_frames(
            partial(self._step, jax.device_put(params, replicated(self._mesh))),
            split,
            assembler,
            index=share(index),
            batch_size=-(-batch_size // self._mesh.size) * self._mesh.size,
            put=partial(put_batch, self._mesh),
        )
        found = (
            (frame.position, in_seconds(frame, str(split.ids[frame.position]), split.durations[frame.position]))
            for frame in frames
        )
        parts: list[tuple[int, WindowDetections]] = []
        for position, windows in by_recording(found):
            parts.append((position, merged(self._merge, windows)))
            advance(1)
        own = vars(table_of(parts))
        everyone = gather(own)
        table = SegmentTable(**{name: np.concatenate([part[name] for part in everyone]) for name in own})
        if len(everyone) == 1:
            return table
        # In the order of the index, as one process would have them.
        rank = np.empty(len(split), np.int64)
        rank[index] = np.arange(len(index))
        return table.take(np.argsort(rank[table.recording], kind="stable"))


def _jitted(task: Task, mesh: Mesh, predict: Callable[[Any, Batch], Detections]) -> tuple[Any, Any]:
    """The jitted merging and prediction of a `Predictor`."""
    rows = by_row(mesh)
    step = jax.jit(predict, in_shardings=(replicated(mesh), rows), out_shardings=rows)
    return jax.jit(task.merge), step


@made_once
def _programs(task: Task, mesh: Mesh) -> tuple[Any, Any]:
    return _jitted(task, mesh, task.predict)


def in_seconds(frame: Frame[Batch, Detections], id: str, recording: float) -> WindowDetections:
    """A frame's detections in seconds, without padding.

    Args:
      frame: a row and its detections in snippet units, on the host.
      id: the recording's id.
      recording: the duration of the whole recording in seconds.

    Raises:
      InputError: what the model made of the frame is not finite.
    """
    row = frame.row
    if not is_finite(_fields(frame.result)):
        raise InputError(
            f"record {id}: the model's output is not finite, of features up to {np.abs(row.features).max():.3g} as it "
            "sees them: are they of the training's kind and units, and its parameters whole?"
        )
    window = Window(
        snippets=row.features.shape[0],
        real=int(np.sum(row.mask)),
        stride=float(row.stride),
        start=frame.start,
        duration=float(row.duration),
        recording=float(recording),
    )
    return window.to_recording(_fields(frame.result))


def merged(merge: Callable[[Detections], Detections], windows: list[WindowDetections]) -> WindowDetections:
    """The detections of a recording from those of its windows.

    Args:
      merge: the task's own NMS over windows, of detections [1, P].
      windows: the detections of each window, in seconds of the recording.

    Returns:
      Detections in seconds, best first, without padding.
    """
    if len(windows) == 1:
        return windows[0]
    together = jax.device_get(merge(Detections(*(x[None] for x in concatenated(windows)))))
    return WindowDetections(*(x[0][together.mask[0]] for x in _fields(together)))


def _fields(d: Detections) -> WindowDetections:
    return WindowDetections(d.segments, d.labels, d.scores, d.mask)


def truth_table(split: Split, index: np.ndarray) -> SegmentTable:
    """The annotated segments of recordings in seconds.

    Args:
      split: the split whose records are read.
      index: [N] positions of the recordings in it.

    Returns:
      A table whose `recording` is the position in the split.
    """
    records = list(zip((int(i) for i in index), split.records(index), strict=True))
    # So that there is something to concatenate.
    return SegmentTable(
        np.concatenate([np.empty(0, np.int64), *(np.full(len(r.labels), i, np.int64) for i, r in records)]),
        np.concatenate([np.empty(0, np.int64), *(r.labels for _, r in records)]),
        np.concatenate([np.empty((0, 2)), *(r.segments for _, r in records)]),
        np.ones(sum(len(r.labels) for _, r in records)),
    )


def excusing_table(split: Split, index: np.ndarray) -> SegmentTable | None:
    """The segments of ignored classes, see `evaluate_detections`; arguments as of `truth_table`. None without any."""
    if not split.metadata.ignored:
        return None
    records = list(zip((int(i) for i in index), split.records(index), strict=True))
    rows = [(i, segment) for i, record in records for segment in record.ignored.tolist()]
    return segment_table([i for i, _ in rows], [-1] * len(rows), [s for _, s in rows], [1.0] * len(rows))
