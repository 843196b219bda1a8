"""Trials of many settings of the decoding on the same outputs: the model runs once, one compilation serves all."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tal_jax.data.composites import Composites
from tal_jax.data.rows import Assembler
from tal_jax.devices.mesh import by_row, put_batch, replicated
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.models.mgfn import MGFNOutput
from tal_jax.stages.map_frames import map_frames
from tal_jax.tasks.cas_decoding import Decoding, select_classes
from tal_jax.tasks.task import Params
from tal_jax.types import Array, Batch, Detections

TIOU = np.round(np.linspace(0.3, 0.7, 5), 2)
# Numbers in one array of a decoding step (candidates x rows); there are some twenty such arrays at a time.
BUDGET = 1 << 23


@flax.struct.dataclass
class Outputs:
    """All that decoding reads, for N windows."""

    sequence: Array  # [N, T, K]
    offsets: Array  # [N, T, M, 2]
    probabilities: Array  # [N, K]
    batch: Batch  # without features


class Trials:
    """Outputs of composites to try settings on, with the truth that composites carry.

    Every window is a recording of its own; in its truth are the actions of which at least half lies in it, cut to it.
    Classes that the host is labelled with are ignored, and in a window that shows less than half of an action, its
    class. All other detections count.

    Attributes:
      stride: median seconds per snippet of the frame.
    """

    def __init__(
        self,
        task: Any,
        outputs: Outputs,
        truth: SegmentTable,
        ignored: np.ndarray,
        labels: tuple[str, ...],
        *,
        least_probability: float,
        mesh: Mesh,
    ):
        """Puts the outputs on the devices, in as few pieces as fit.

        Args:
          task: a task whose decoding can be searched.
          outputs: NumPy arrays of N windows.
          truth: segments in snippet units; `recording` is the window.
          ignored: [N, K] bool, True for classes whose detections in the window do not count.
          labels: [K] names of the classes.
          least_probability: the lowest class threshold of all settings.
          mesh: the devices; windows are split over them.
        """
        self.stride = float(np.median(outputs.batch.stride))
        self._truth, self._ignored, self._labels = truth, ignored, labels
        self._duration = np.asarray(outputs.batch.duration, np.float64)
        outputs, self._classes = selectable(outputs, least_probability)
        windows, k = outputs.probabilities.shape
        candidates = outputs.sequence.shape[1] * k * max(task.thresholds, outputs.offsets.shape[2])
        rows = max(mesh.size, min(BUDGET // candidates, windows) // mesh.size * mesh.size)
        # The last row fills the last piece.
        padding = -windows % rows
        padded = jax.tree.map(lambda x: np.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1), mode="edge"), outputs)
        self._pieces = [
            put_batch(mesh, jax.tree.map(lambda x, at=at: x[at : at + rows], padded))
            for at in range(0, windows + padding, rows)
        ]

        def decode(piece: Outputs, decoding: Decoding) -> Detections:
            nothing = jnp.zeros((0, *piece.batch.mask.shape), bool)
            output = MGFNOutput((), piece.sequence, nothing, piece.offsets)
            return task.decode((output, piece.probabilities), piece.batch, decoding)

        self._decode = jax.jit(decode, in_shardings=(by_row(mesh), replicated(mesh)), out_shardings=by_row(mesh))

    def detections(self, decoding: Decoding) -> SegmentTable:
        """The detections of one setting that count, in snippet units; `recording` is the window."""
        decoding = jax.tree.map(np.float32, decoding)
        parts = jax.device_get([self._decode(piece, decoding) for piece in self._pieces])
        found: Detections = jax.tree.map(lambda *x: np.concatenate(x)[: len(self._ignored)], *parts)
        window, slot = np.nonzero(found.mask)
        label = self._classes[window, found.labels[window, slot]]
        segments = found.segments[window, slot].astype(np.float64)
        segments = np.clip(segments, 0, self._duration[window, None])
        table = SegmentTable(window, label, segments, np.asarray(found.scores[window, slot], np.float64))
        return table.take(~self._ignored[window, label] & (segments[:, 1] > segments[:, 0]))

    def score(self, decoding: Decoding) -> float:
        """The average mAP of one setting over TIOU, a fraction."""
        return evaluate_detections(self._truth, self.detections(decoding), self._labels, TIOU).average


def prepare_trials(
    task: Any,
    params: Params,
    composites: Composites,
    assembler: Assembler,
    *,
    batch_size: int,
    least_probability: float,
    mesh: Mesh,
) -> Trials:
    """Runs the model over all windows of all composites, once.

    Args:
      task: a task whose decoding can be searched.
      params: the task's parameters.
      composites: recordings with known actions.
      assembler: makes rows of them.
      batch_size: how many windows are computed at a time.
      least_probability: the lowest class threshold of all settings.
      mesh: the devices; windows are split over them.
    """

    def reduced(params: Params, batch: Batch) -> Outputs:
        output, probabilities = task.forward(params, batch)
        bare = dataclasses.replace(batch, features=batch.features[..., :0])
        return Outputs(output.sequence, output.offsets, probabilities, bare)

    run = jax.jit(reduced, in_shardings=(replicated(mesh), by_row(mesh)), out_shardings=by_row(mesh))
    records: Any = composites  # what the pipeline asks of a `Split`
    frames = map_frames(
        partial(run, params),
        records,
        assembler,
        index=np.arange(len(composites)),
        batch_size=batch_size,
        put=partial(put_batch, mesh),
    )
    windows = [(frame.position, frame.start, frame.result) for frame in frames]
    outputs: Outputs = jax.tree.map(lambda *x: np.stack(x), *(result for *_, result in windows))
    truth, ignored = _truth(composites, [(position, start) for position, start, _ in windows], outputs.batch)
    return Trials(
        task, outputs, truth, ignored, composites.metadata.labels, least_probability=least_probability, mesh=mesh
    )


def selectable(outputs: Outputs, least_probability: float) -> tuple[Outputs, np.ndarray]:
    """Leaves out the classes that no setting selects: with hundreds of classes nearly all, and the result is the same.

    Args:
      outputs: NumPy arrays of N windows and K classes.
      least_probability: the lowest class threshold of all settings.

    Returns:
      The outputs with C <= K classes, and which ones these are in each window: [N, C], ascending.
    """
    count = int(np.asarray(select_classes(outputs.probabilities, least_probability)).sum(axis=1).max())
    likeliest = np.argsort(-outputs.probabilities, axis=1, kind="stable")[:, :count]
    classes = np.sort(likeliest, axis=1)  # decoding breaks ties by class
    chosen = dataclasses.replace(
        outputs,
        sequence=np.take_along_axis(outputs.sequence, classes[:, None, :], axis=2),
        probabilities=np.take_along_axis(outputs.probabilities, classes, axis=1),
    )
    return chosen, classes


def _truth(
    composites: Composites, places: Sequence[tuple[int, float]], batch: Batch
) -> tuple[SegmentTable, np.ndarray]:
    """The truth of windows in snippet units, and the classes to ignore in each [N, K].

    Args:
      composites: recordings with known actions.
      places: [N], the position of each window's recording and its start in seconds.
      batch: the N rows of the windows.
    """
    ignored = np.zeros((len(places), len(composites.metadata.labels)), bool)
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for window, (i, start) in enumerate(places):
        composition = composites.compositions[i]
        seconds, labels = composition.truth()
        units = (seconds - start) / float(batch.stride[window])
        inside = np.clip(units, 0, float(batch.duration[window]))
        part = (inside[:, 1] - inside[:, 0]) / (units[:, 1] - units[:, 0])
        ignored[window, [*composition.present, *labels[(part > 0) & (part < 0.5)]]] = True
        kept = (part > 0) & ~ignored[window, labels]  # at least half of it, then
        rows.append((np.full(kept.sum(), window), labels[kept], inside[kept]))
    window_of, label, segments = (np.concatenate(column) for column in zip(*rows, strict=True))
    return SegmentTable(window_of, label, segments, np.ones(len(label))), ignored
