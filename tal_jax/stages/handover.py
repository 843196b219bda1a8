"""Artifacts as a finished stage makes them, in one file: proposals, class scores, clip features or an encoder."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from tal_jax.data import class_scores, clip_features, proposals
from tal_jax.data.dataset import SPLITS, open_split
from tal_jax.devices.processes import first, gather, share
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.stages.artifacts import FILES, Origin
from tal_jax.stages.map_frames import map_frames
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.stage import Stage
from tal_jax.tasks.task import ENCODER, OF_RECORDINGS, PROPOSALS, Params


def parameter_digest(params: Params) -> str:
    """SHA-256 of the names, shapes, types and values of parameters, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path, x in jax.tree_util.tree_flatten_with_path(params)[0]:
        array = np.ascontiguousarray(x)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def per_recording(ids: np.ndarray, table: SegmentTable) -> Iterator[tuple[str, SegmentTable]]:
    """Each recording's rows of a table.

    Args:
      ids: [N] ids of the recordings.
      table: its `recording` column is sorted and indexes `ids`.

    Yields:
      (id, its rows) for every id, also for one without rows.
    """
    edges = np.searchsorted(table.recording, np.arange(len(ids) + 1))
    for i, id in enumerate(ids):
        yield str(id), table.take(np.arange(edges[i], edges[i + 1]))


def as_input(artifact: str, rows: SegmentTable, classes: int) -> Any:
    """What a stage found in a recording, as the rows of a later stage take it.

    Args:
      artifact: PROPOSALS or CLASS_SCORES.
      rows: the stage's detections in the recording, in seconds.
      classes: K, how many classes the set has.

    Returns:
      Of proposals, segments [P, 2] in seconds and scores [P]; of class scores, [K] float32, 0 for a class that no row
      names.
    """
    if artifact == PROPOSALS:
        return rows.segments, rows.score
    scores = np.zeros(classes, np.float32)
    scores[rows.label] = rows.score
    return scores


def write_artifact(
    stage: Stage,
    predictor: Predictor,
    params: Params,
    batch_size: int,
    advance: Callable[[int], Any] = lambda n: None,
) -> str:
    """Predicts every split of recordings, or the clips, and writes what the stage makes, if anything, into its folder.

    Args:
      stage: the stage, trained.
      predictor: runs the stage's task.
      params: the task's parameters.
      batch_size: how many windows are predicted at a time.
      advance: called with the number of recordings that were finished.

    Returns:
      The digest of the parameters, see `parameter_digest`; "" for a stage that makes nothing.
    """
    made = stage.task.makes
    if not made:
        return ""
    metadata, digest = stage.training.metadata, parameter_digest(params)
    origin = dataclasses.asdict(Origin(metadata.fingerprint, metadata.content, digest))
    path = stage.workdir / stage.name / FILES[made]
    if made == ENCODER:
        if first():
            stage.task.write_encoder(path, params, stage.trained_on.labels, stage.trained_on.stride, origin)
        return digest
    if made not in OF_RECORDINGS:
        vectors = _clip_features(stage, params, batch_size)
        if first():
            clip_features.write(path, vectors, origin)
        return digest
    parts: list[tuple[np.ndarray, SegmentTable]] = []
    for name in [split for split in SPLITS if split in metadata.splits]:
        split = open_split(stage.training.directory, name)
        index = np.arange(len(split))
        found = predictor(params, split, stage.assembler, index=index, batch_size=batch_size, advance=advance)
        parts.append((split.ids, found))
    if first():
        by_recording = itertools.chain.from_iterable(per_recording(ids, table) for ids, table in parts)
        inputs = ((id, as_input(made, rows, len(metadata.labels))) for id, rows in by_recording)
        if made == PROPOSALS:
            proposals.write(path, ((id, *found) for id, found in inputs), origin)
        else:
            class_scores.write(path, metadata.labels, inputs, origin)
    return digest


def _clip_features(stage: Stage, params: Params, batch_size: int) -> list[tuple[str, np.ndarray]]:
    """Features of every clip by the trained branch, in one vector each."""
    features = jax.jit(stage.task.clip_features)
    own = share(np.arange(len(stage.training)))
    step = partial(features, params)
    frames = map_frames(step, stage.training, stage.assembler, index=own, batch_size=batch_size)
    found = {frame.position: frame.result.ravel() for frame in frames}
    everyone = gather({"position": np.array(list(found)), "rows": np.array(list(found.values()))})
    merged = {int(p): row for part in everyone for p, row in zip(part["position"], part["rows"], strict=True)}
    return [(str(stage.training.ids[p]), merged[p]) for p in sorted(merged)]
