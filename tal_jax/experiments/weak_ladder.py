"""The ladder of the report's Table 2: rows of one config trained one after the other, tuned, and measured alike."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tal_jax.data.annotations import Recording
from tal_jax.data.dataset import Split, open_split
from tal_jax.devices.mesh import local_mesh
from tal_jax.evaluation.detection import HIGH_TIOU, LOW_TIOU, evaluate_detections
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.ground_truth import select
from tal_jax.experiments.tune_decoding import tune
from tal_jax.frames import by_recording
from tal_jax.models.mgfn import activate, scaled
from tal_jax.stages.map_frames import map_frames
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.stage import KNOWLEDGE, Stage, build_stage
from tal_jax.stages.tuned_decoding import read_tuned
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.tasks.task import Params
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate
from tal_jax.types import Batch, Detections


@dataclasses.dataclass(frozen=True)
class Score:
    """Average mAP over 0.1:0.1:0.7 and over 0.5:0.05:0.95, fractions."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Rung:
    """What one row of the ladder reached."""

    scores: Mapping[str, Score]  # by decoding
    detections: Submission  # as configured
    sequences: Mapping[str, np.ndarray]  # id -> scaled CAS [T, K] of some recordings


def train_rung(config: dict[str, Any], workdir: Path, shared: Path) -> None:
    """Trains one row and tunes its decoding; what is finished is not repeated.

    Args:
      config: of the row; its `trimmed` is set to the file of the shared branch.
      workdir: of the row.
      shared: workdir of the trimmed branch, the same for all rows that learn from clips.
    """
    trimmed = next((name for name in config["track"] if config["stages"][name]["task"] == "trimmed"), None)
    if trimmed:
        train_and_evaluate({**config, "track": (trimmed,)}, shared)
        for name in config["track"]:
            if config["stages"][name]["task"] == "mgfn":
                config["stages"][name]["trimmed"] = str(shared / trimmed / KNOWLEDGE)
    train_and_evaluate(config, workdir)
    tune(workdir)


def measure_rung(
    config: Mapping[str, Any],
    workdir: Path,
    recordings: Mapping[str, Recording],
    split: str,
    *,
    pictured: list[str],
) -> Rung:
    """Detects in a split with three decodings of one trained row, and scores them.

    unsmoothed: as configured, but with the sequences as they are; config: as configured; tuned: as `launch.tune` chose
    it. Ground truth is read here for the first time, and only to score.

    Args:
      config: of the row.
      workdir: of the row, trained and tuned.
      recordings: annotations.
      split: of the prepared set.
      pictured: ids of recordings whose sequences are wanted.
    """
    name = config["track"][-1]
    stage = build_stage(config, name, workdir)
    task = stage.task
    assert isinstance(task, MGFNTask)
    decodings = {
        "unsmoothed": dataclasses.replace(task.decoding, smoothing=0.0),
        "config": task.decoding,
        "tuned": read_tuned(workdir, name) or task.decoding,
    }
    params = restore_params(workdir, name)
    records = open_split(config["data"]["dir"], split)
    found = dict(_detect(stage, task, params, records, decodings, config["stages"][name]["batch_size"]))
    scores = {decoding: score(submission, recordings, split) for decoding, submission in found.items()}
    return Rung(scores, found["config"], dict(_sequences(stage, task, params, records, pictured)))


def score(submission: Submission, recordings: Mapping[str, Recording], subset: str) -> Score:
    """Both averages of detections on a subset."""
    chosen = select(recordings, submission, subset)
    both = (LOW_TIOU, HIGH_TIOU)
    results = (evaluate_detections(chosen.truth, chosen.detections, chosen.labels, tiou) for tiou in both)
    return Score(*(result.average for result in results))


def _detect(
    stage: Stage, task: MGFNTask, params: Params, records: Split, decodings: Mapping[str, Decoding], batch_size: int
) -> Iterator[tuple[str, Submission]]:
    def predict(given: tuple[Params, Decoding], batch: Batch) -> Detections:
        params, decoding = given
        return task.decode(task.forward(params, batch), batch, decoding)

    # The decoding is an argument of the compiled step: one compilation for all of them.
    predictor = Predictor(task, local_mesh(), predict)
    index = np.arange(len(records))
    for name, decoding in decodings.items():
        given = (params, jax.tree.map(np.float32, decoding))
        table = predictor(given, records, stage.assembler, index=index, batch_size=batch_size)
        yield name, Submission(tuple(str(i) for i in records.ids), stage.trained_on.labels, table)


def _sequences(
    stage: Stage, task: MGFNTask, params: Params, records: Split, ids: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Scaled sequences of whole recordings; of windowed ones the first window's."""
    index = [int(np.flatnonzero(records.ids == id)[0]) for id in ids]

    @jax.jit
    def cas(params: Params, batch: Batch) -> Any:
        output, _ = task.forward(params, batch)
        return scaled(activate(output.sequence, task.model.activation), batch.mask)

    step = partial(cas, params)
    frames = map_frames(step, records, stage.assembler, index=index, batch_size=min(len(index), 8))
    sequences = ((frame.position, frame.result[frame.row.mask]) for frame in frames)
    for position, (first, *_) in by_recording(sequences):
        yield str(records.ids[position]), first
