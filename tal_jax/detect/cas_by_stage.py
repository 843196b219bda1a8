"""The class activation sequences (CAS) of the stages of an MGFN, as Figure 7 of the report shows them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.data.dataset import Split
from tal_jax.data.rows import Assembler
from tal_jax.models.mgfn import activate
from tal_jax.report.inputs import Curve
from tal_jax.stages.map_frames import map_frames
from tal_jax.tasks.cas_decoding import select_classes
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.tasks.task import Params
from tal_jax.types import Array, Batch

STAGES = ("simple", "multi-dilated", "second stage", "cascade")  # from top to bottom
OTHERS = 3  # classes that are not in the recording, the likeliest ones


def stage_sequences(
    task: MGFNTask,
    params: Params,
    split: Split,
    assembler: Assembler,
    *,
    present: Mapping[int, frozenset[str]],
    labels: tuple[str, ...],
    batch_size: int,
) -> dict[int, dict[str, Curve]]:
    """Sequences by recording and stage, scaled to [0, 1] class by class and not smoothed.

    "simple": the first branch of the first stage alone (H_0); "multi-dilated": with all of its branches; "second
    stage": what the second one sees where the first has discovered nothing; "cascade": the higher of both. Stages that
    the model does not have are left out.

    Args:
      task: with the model.
      params: of the task.
      split: records.
      assembler: makes the rows; windows that overlap are averaged.
      present: position in the split -> labels of its classes; these recordings are wanted.
      labels: [K] of the model.
      batch_size: windows at a time.

    Returns:
      position -> stage -> the classes of the recording, and at most OTHERS more that the decoding takes up.
    """
    model = task.model
    first = model.clone(dilations=model.dilations[:1], cascade=False, anchors=())

    @jax.jit
    def run(params: Params, batch: Batch) -> tuple[dict[str, Array], Array]:
        output, probabilities = task.forward(params, batch)
        found: dict[str, Any] = {}
        if len(model.dilations) > 1:
            simple: Any = first.apply(params, batch.features, batch.mask, None, train=False)
            found["simple"] = simple.sequence
        found["multi-dilated" if len(model.dilations) > 1 else "simple"] = output.stages[0].sequence
        if len(output.stages) > 1:
            found |= {"second stage": output.stages[1].sequence, "cascade": output.sequence}
        taken = select_classes(probabilities, task.decoding.class_threshold)
        sequences = {stage: activate(x, model.activation) for stage, x in found.items()}
        return sequences, jnp.where(taken, probabilities, -1.0)

    parts: dict[int, list[tuple[float, float, dict[str, np.ndarray]]]] = {}
    likely: dict[int, np.ndarray] = {}
    for frame in map_frames(partial(run, params), split, assembler, index=sorted(present), batch_size=batch_size):
        found, taken = frame.result
        real = {stage: x[frame.row.mask] for stage, x in found.items()}
        parts.setdefault(frame.position, []).append((frame.start, float(frame.row.stride), real))
        likely[frame.position] = np.maximum(likely.get(frame.position, -1.0), taken)
    sequences = {}
    for position, windows in parts.items():
        true = [k for k, label in enumerate(labels) if label in present[position]]
        order = np.argsort(-likely[position], kind="stable").tolist()
        others = [k for k in order if k not in true and likely[position][k] >= 0]
        names = {k: labels[k] for k in [*true, *others[:OTHERS]]}
        sequences[position] = {
            stage: _curve([(offset, x[stage]) for offset, _, x in windows], windows[0][1], names)
            for stage in STAGES
            if stage in windows[0][2]
        }
    return sequences


def _curve(windows: list[tuple[float, np.ndarray]], stride: float, names: Mapping[int, str]) -> Curve:
    """Windows (offset in seconds, [T, K]) as one sequence, scaled by its lowest and highest value."""
    places = [round(offset / stride) for offset, _ in windows]
    length = max(place + len(x) for place, (_, x) in zip(places, windows, strict=True))
    total, count = np.zeros((length, windows[0][1].shape[1])), np.zeros((length, 1))
    for place, (_, x) in zip(places, windows, strict=True):
        total[place : place + len(x)] += x
        count[place : place + len(x)] += 1
    sequence = total / np.maximum(count, 1)
    low, high = sequence.min(axis=0), sequence.max(axis=0)
    level = np.divide(sequence - low, high - low, out=np.zeros_like(sequence), where=high > low)
    return Curve(stride, {name: level[:, k] for k, name in names.items()})
