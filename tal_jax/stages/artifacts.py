"""What a finished stage writes for the next one: proposals or class scores of every recording, once, as Parquet."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tal_jax.data import class_scores, proposals
from tal_jax.data import clip_features as knowledge
from tal_jax.data.dataset import SPLITS, open_split
from tal_jax.devices.processes import first, gather, share
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.stages.map_frames import map_frames
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.stage import CLASS_SCORES, KNOWLEDGE, PROPOSALS, Stage
from tal_jax.tasks.mgfn import MGFNTask, pooled_features
from tal_jax.tasks.task import Params
from tal_jax.types import Array, Batch


def per_recording(ids: np.ndarray, table: SegmentTable) -> Iterator[tuple[str, SegmentTable]]:
    """Each recording's rows of a table whose `recording` column is sorted and indexes `ids`."""
    edges = np.searchsorted(table.recording, np.arange(len(ids) + 1))
    for i, id in enumerate(ids):
        yield str(id), table.take(np.arange(edges[i], edges[i + 1]))


def as_input(kind: str, rows: SegmentTable, classes: int) -> Any:
    """What a stage of a kind found in a recording, as the assembler of a later stage joins it.

    Proposals (seconds [P, 2], scores [P]) of "bmn"; class scores [K] of "classifier", 0 for classes it does not name.
    """
    if kind == "bmn":
        return rows.segments, rows.score
    scores = np.zeros(classes, np.float32)
    scores[rows.label] = rows.score
    return scores


def hand_on(
    stage: Stage,
    predictor: Predictor,
    params: Params,
    batch_size: int,
    workdir: Path,
    advance: Callable[[int], Any] = lambda n: None,
) -> None:
    """Predicts every split of recordings, or the clips of a trimmed stage, and writes the stage's Parquet file.

    `advance` is called with the number of recordings that were finished, where it is recordings.
    """
    if stage.kind == "trimmed":
        rows = _knowledge(stage, params, batch_size)
        if first():
            knowledge.write(workdir / stage.name / KNOWLEDGE, rows)
    if stage.kind not in ("bmn", "classifier"):
        return
    parts: list[tuple[np.ndarray, SegmentTable]] = []
    for name in [split for split in SPLITS if split in stage.training.metadata.splits]:
        split = open_split(stage.training.directory, name)
        index = np.arange(len(split))
        found = predictor(params, split, stage.assembler, index=index, batch_size=batch_size, advance=advance)
        parts.append((split.ids, found))

    if not first():
        return

    def by_recording() -> Iterator[tuple[str, SegmentTable]]:
        return itertools.chain.from_iterable(per_recording(ids, table) for ids, table in parts)

    labels = stage.training.metadata.labels
    inputs = ((id, as_input(stage.kind, rows, len(labels))) for id, rows in by_recording())
    if stage.kind == "bmn":
        proposals.write(workdir / stage.name / PROPOSALS, ((id, *found) for id, found in inputs))
    else:
        class_scores.write(workdir / stage.name / CLASS_SCORES, labels, inputs)


def _knowledge(stage: Stage, params: Params, batch_size: int) -> list[tuple[str, np.ndarray]]:
    """Pooled features of every clip by the trained branch, all branches and stages in one vector."""
    task = stage.task
    assert isinstance(task, MGFNTask)

    @jax.jit
    def pooled(params: Params, batch: Batch) -> Array:
        output, _ = task.forward(params, batch, batch.labels)
        return pooled_features(output.stages, batch.labels)

    own = share(np.arange(len(stage.training)))
    step = partial(pooled, params)
    frames = map_frames(step, stage.training, stage.assembler, index=own, batch_size=batch_size)
    found = {frame.position: frame.result.ravel() for frame in frames}
    everyone = gather({"position": np.array(list(found)), "rows": np.array(list(found.values()))})
    merged = {int(p): row for part in everyone for p, row in zip(part["position"], part["rows"], strict=True)}
    return [(str(stage.training.ids[p]), merged[p]) for p in sorted(merged)]
