"""The ablation of the report's Table 2: variants of one config, trained one by one, tuned, and measured alike."""

import dataclasses
import json
import os
import runpy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tal_jax import bundled
from tal_jax.checks.ignored import leave_out_known
from tal_jax.data import annotations, atomic
from tal_jax.data.annotations import Recording
from tal_jax.data.dataset import Split, open_split
from tal_jax.devices.mesh import local_mesh
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation.detection import HIGH_TIOU, LOW_TIOU, evaluate_detections
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.ground_truth import select
from tal_jax.experiments.tune_decoding import tune
from tal_jax.frames import by_recording
from tal_jax.models.mgfn import scaled
from tal_jax.plots import cas as cas_figure
from tal_jax.plots import detections as figure
from tal_jax.plots.detections import Bar
from tal_jax.stages.artifacts import made_file
from tal_jax.stages.config import parse, with_defaults
from tal_jax.stages.map_frames import map_frames
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import Stage, build_stage
from tal_jax.stages.tuned_decoding import read_tuned
from tal_jax.stages.workdir import read_config
from tal_jax.tasks.abilities import as_tunable
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.tasks.task import CLIP_FEATURES, Params
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate
from tal_jax.train.trainable import plan_training
from tal_jax.types import Array, Batch, Detections


@dataclasses.dataclass(frozen=True)
class Score:
    """Average mAP over 0.1:0.1:0.7 and over 0.5:0.05:0.95, fractions."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class AblationRow:
    """The scores of one row of the ladder, and what its picture shows."""

    scores: Mapping[str, Score]  # by decoding: "unsmoothed", "config", "tuned"
    detections: Submission  # with the config's decoding
    sequences: Mapping[str, np.ndarray]  # id -> scaled CAS [T, K] of some recordings


def train_row(config: Config, workdir: Path, shared: Path) -> None:
    """Trains one row and tunes its decoding; what is finished is not repeated.

    Args:
      config: the config of the row.
      workdir: the folder of the row.
      shared: the folder of the stages that learn from clips alone, the same for all rows that take their features.
    """
    stages = dict(config.stages)
    makers = [name for name in config.track if stages[name].kind.makes == CLIP_FEATURES]
    for maker in makers:
        train_and_evaluate(dataclasses.replace(config, track=(maker,)), shared)
        file = str(made_file(shared / maker, CLIP_FEATURES))
        for name in config.track:
            if CLIP_FEATURES in stages[name].kind.accepts:
                stages[name] = dataclasses.replace(stages[name], files={**stages[name].files, CLIP_FEATURES: file})
    train_and_evaluate(dataclasses.replace(config, stages=stages), workdir)
    tune(workdir)


def measure_row(
    config: Config,
    workdir: Path,
    recordings: Mapping[str, Recording],
    split: str,
    *,
    pictured: list[str],
) -> AblationRow:
    """Detects in a split with three decodings of one trained row, and scores them.

    "unsmoothed" is the config's without smoothing of the sequences, "config" the config's, "tuned" the choice of
    `launch.tune`. Ground truth is read here for the first time, and only to score.

    Args:
      config: the config of the row.
      workdir: the folder of the row, trained and tuned.
      recordings: the annotated recordings by id.
      split: the name of a split of the prepared set.
      pictured: ids of the recordings whose sequences are wanted.
    """
    name = config.track[-1]
    stage = build_stage(read_config(workdir), name, workdir)
    task = as_tunable(stage.task, f"stage {name}")
    decodings = {
        "unsmoothed": dataclasses.replace(task.decoding, smoothing=0.0),
        "config": task.decoding,
        "tuned": read_tuned(workdir, name) or task.decoding,
    }
    params = restore_params(workdir, name)
    records = open_split(config.data.dir, split)
    found = dict(_detect(stage, params, records, decodings))
    scores = {decoding: score(submission, recordings, split) for decoding, submission in found.items()}
    return AblationRow(scores, found["config"], dict(_sequences(stage, params, records, pictured)))


def score(submission: Submission, recordings: Mapping[str, Recording], subset: str) -> Score:
    """Both averages of detections on a subset of the annotated recordings."""
    chosen = select(recordings, submission, subset)
    both = (LOW_TIOU, HIGH_TIOU)
    results = (evaluate_detections(chosen.truth, chosen.detections, chosen.labels, t, chosen.excusing) for t in both)
    return Score(*(result.average for result in results))


def _detect(
    stage: Stage, params: Params, records: Split, decodings: Mapping[str, Decoding]
) -> Iterator[tuple[str, Submission]]:
    task = as_tunable(stage.task, f"stage {stage.name}")

    def predict(given: tuple[Params, Decoding], batch: Batch) -> Detections:
        params, decoding = given
        return task.decode(task.forward(params, batch), batch, decoding)

    # The decoding is an argument of the compiled step: one compilation for all of them.
    predictor = Predictor(stage.task, local_mesh(), predict)
    index = np.arange(len(records))
    for name, decoding in decodings.items():
        given = (params, jax.tree.map(np.float32, decoding))
        table = predictor(given, records, stage.assembler, index=index, batch_size=stage.section.batch_size)
        yield name, Submission(tuple(str(i) for i in records.ids), stage.trained_on.labels, table)


def _sequences(stage: Stage, params: Params, records: Split, ids: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The final sequences of whole recordings, scaled; of windowed ones the first window's."""
    index = [int(np.flatnonzero(records.ids == id)[0]) for id in ids]

    @jax.jit
    def cas(params: Params, batch: Batch) -> Array:
        sequences, _ = stage.task.sequences(params, batch)
        return scaled(sequences[-1], batch.mask)

    frames = map_frames(partial(cas, params), records, stage.assembler, index=index, batch_size=min(len(index), 8))
    sequences = ((frame.position, frame.result[frame.row.mask]) for frame in frames)
    for position, (first, *_) in by_recording(sequences):
        yield str(records.ids[position]), first


def load_rows(path: str, rows: Sequence[str], data: str, seed: int) -> dict[str, Config]:
    """The config of every row.

    Args:
      path: the path of a config file whose `get_config` takes the row's name, or the name of one of the package.
      rows: the names of the rows.
      data: the folder of the prepared set.
      seed: the seed of the trainings.

    Returns:
      The configs by the rows' names.

    Raises:
      InputError: there is no such file, or no such row.
    """
    get_config = runpy.run_path(bundled.locate("configs", path)).get("get_config")
    configs = {}
    for row in rows:
        try:
            config = with_defaults(get_config(row))  # type: ignore[misc]
        except (TypeError, ValueError) as e:
            raise InputError(f"--config={path}: no row {row!r}: {e}") from e
        config.data.dir, config.seed = data, seed
        configs[row] = parse(config.to_dict())
    return configs


def run_ablation(
    configs: Mapping[str, Config],
    out: Path,
    *,
    ground_truth: str,
    split: str,
    supervised: str | None,
    pictured: int,
) -> str:
    """Trains, tunes and measures the rows, and writes OUT/ladder.json, scores.json, ROW.json and cas.png.

    Args:
      configs: the rows' configs by name, from simple to full.
      out: the folder of the ablation, in which each row has its workdir.
      ground_truth: JSON file of annotations; it is read for measuring alone.
      split: the name of the split to measure on.
      supervised: a file of detections to show beside the rows, or None.
      pictured: how many recordings the picture shows.

    Returns:
      The ladder as a table in text.

    Raises:
      InputError: something is wrong with the configs or the data.
    """
    out.mkdir(parents=True, exist_ok=True)
    records = open_split(next(iter(configs.values())).data.dir, split)
    recordings = leave_out_known(annotations.read(ground_truth), records.metadata.ignored, ground_truth)
    shown = cas_figure.choose([str(id) for id in records.ids if recordings[str(id)].instances], pictured)
    found: dict[str, AblationRow] = {}
    for row, config in configs.items():
        try:
            plan_training(config, Path(os.devnull, "nothing"))  # no stage has begun there
        except InputError as e:
            raise InputError(f"row {row}: {e}") from e
    for row, config in configs.items():
        print(f"\nrow {row}", flush=True)
        train_row(config, out.absolute() / row, out.absolute() / "shared")
        found[row] = measure_row(config, out.absolute() / row, recordings, split, pictured=shown)
        submission.write(out / f"{row}.json", found[row].detections)
    beside = score(submission.read(supervised), recordings, split) if supervised else None
    _write_scores(out, found, beside)
    labels = records.metadata.labels
    strips = [_strip(id, recordings[id], labels, found) for id in shown]
    text = (
        f"{len(shown)} of {len(records)} recordings, evenly spaced by name: ground truth, then the class activation "
        "sequence of every row, scaled to [0, 1] and not smoothed."
    )
    figure.save(cas_figure.draw(strips, labels, text), out / "cas.png")
    return table(found, beside)


def table(found: Mapping[str, AblationRow], supervised: Score | None) -> str:
    """The ladder as a table in text, in percent: both averages of every row with every decoding."""
    decodings = {"unsmoothed": "not smoothed", "config": "as configured", "tuned": "tuned"}
    lines = [
        "average mAP (%) over 0.1:0.1:0.7 and over 0.5:0.05:0.95",
        f"{'row':<12}" + "".join(f"{title:>22}" for title in decodings.values()),
    ]

    def pair(value: Score) -> str:
        return f"{100 * value.low:.1f} / {100 * value.high:.1f}"

    for row, measured in found.items():
        lines.append(f"{row:<12}" + "".join(f"{pair(measured.scores[name]):>22}" for name in decodings))
    if supervised:
        lines.append(f"{'supervised':<12}{pair(supervised):>22}")
    return "\n".join(lines)


def _write_scores(out: Path, found: Mapping[str, AblationRow], supervised: Score | None) -> None:
    ladder = {row: measured.scores["config"].low for row, measured in found.items()}
    atomic.write(out / "ladder.json", json.dumps(ladder, indent=1).encode())
    details: dict[str, Any] = {
        row: {name: [value.low, value.high] for name, value in measured.scores.items()}
        for row, measured in found.items()
    }
    if supervised:
        details["supervised"] = [supervised.low, supervised.high]
    atomic.write(out / "scores.json", json.dumps(details, indent=1).encode())


def _strip(
    id: str, recording: Recording, labels: Sequence[str], found: Mapping[str, AblationRow]
) -> cas_figure.Sequences:
    rows = {row: measured.sequences[id] for row, measured in found.items()}
    truth = tuple(
        Bar(i.start, i.end, labels.index(i.label) if i.label in labels else -1, 1.0) for i in recording.instances
    )
    duration = recording.duration or max(bar.end for bar in truth)
    return cas_figure.Sequences(id, duration, truth, duration / len(next(iter(rows.values()))), rows)
