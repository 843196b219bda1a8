"""Class activation sequences (CAS) of the parts of an MGFN, as Figure 7 of the report shows them."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np

from tal_jax.data.dataset import Split
from tal_jax.data.rows import Assembler
from tal_jax.report.inputs import Curve
from tal_jax.stages.map_frames import map_frames
from tal_jax.tasks.task import Params, Task

OTHERS = 3  # how many of the likeliest classes that are not in the recording are shown


def stage_sequences(
    task: Task,
    params: Params,
    split: Split,
    assembler: Assembler,
    *,
    present: Mapping[int, frozenset[str]],
    labels: tuple[str, ...],
    batch_size: int,
) -> dict[int, dict[str, Curve]]:
    """Sequences by recording and by what made them, scaled to [0, 1] class by class and not smoothed.

    Args:
      task: a task that has sequences, see `Task.sequences`.
      params: the task's parameters.
      split: the split whose records are read.
      assembler: makes rows of records; windows that overlap are averaged.
      present: the recordings that are wanted: position in the split -> labels of its classes.
      labels: [K] names of the model's classes.
      batch_size: how many windows are computed at a time.

    Returns:
      Position in the split -> name of the sequence, see `Task.sequences` -> its curves of the recording's classes, and
      of at most OTHERS more that the decoding takes up.
    """
    run = jax.jit(task.sequences)
    parts: dict[int, list[tuple[float, float, dict[str, np.ndarray]]]] = {}
    likely: dict[int, np.ndarray] = {}
    for frame in map_frames(partial(run, params), split, assembler, index=sorted(present), batch_size=batch_size):
        found, taken = frame.result
        named = zip(task.sequence_names, found, strict=True)
        real = {name: x[frame.row.mask] for name, x in named}
        parts.setdefault(frame.position, []).append((frame.start, float(frame.row.stride), real))
        likely[frame.position] = np.maximum(likely.get(frame.position, -1.0), taken)
    sequences = {}
    for position, windows in parts.items():
        true = [k for k, label in enumerate(labels) if label in present[position]]
        order = np.argsort(-likely[position], kind="stable").tolist()
        others = [k for k in order if k not in true and likely[position][k] >= 0]
        names = {k: labels[k] for k in [*true, *others[:OTHERS]]}
        sequences[position] = {
            name: _curve([(offset, x[name]) for offset, _, x in windows], windows[0][1], names)
            for name in task.sequence_names
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
