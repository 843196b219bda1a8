"""One training of a study: its stages, of which rows with the same settings share the first ones, and its scores."""

import copy
import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tal_jax.data import atomic
from tal_jax.data.dataset import open_split
from tal_jax.errors import InputError
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.pairs import SegmentTable
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.evaluation.study_summary import HIGH, LOW, Outcome
from tal_jax.train.build import CLASS_SCORES, KNOWLEDGE, PROPOSALS, build_stage
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import needed, train_and_evaluate
from tal_jax.train.predict import Predictor, truth_table
from tal_jax.train.sharding import local_mesh
from tal_jax.train.study import Run, digest

# What a kind of stage hands on: the later stage's key for a file of it, and the file's name.
HANDED_ON = {
    "bmn": ("proposals", PROPOSALS),
    "classifier": ("class_scores", CLASS_SCORES),
    "trimmed": ("trimmed", KNOWLEDGE),
}
RESULT, FOUND, SECONDS = "result.json", "found_seed{}.npz", "seconds.json"


def outcomes(run: Run, workdir: Path) -> list[Outcome]:
    """Trains, unless that is done, and scores: an outcome for every seed.

    Args:
      run: of the study.
      workdir: of the study.

    Raises:
      InputError: anything wrong with config or data, or a folder that holds this run with other settings.
      Interrupted: see `train_and_evaluate`.
    """
    folder = workdir / "runs" / run.folder
    path = folder / RESULT
    if not path.exists():
        _train(run, workdir, folder)
        _measure(run, folder)
    result = json.loads(path.read_text())
    if result["digest"] != run.digest:
        raise InputError(
            f"{folder}: holds row {run.row} with other settings: choose another --workdir, or remove that folder"
        )
    return [_read(run, folder, seed, values) for seed, values in zip(run.seeds, result["values"], strict=True)]


def _train(run: Run, workdir: Path, folder: Path) -> None:
    config = copy.deepcopy(run.config)
    last = config["track"][-1]
    for name in config["track"][:-1]:
        if not needed(config, name):
            continue
        section = config["stages"][name]
        own = {**config, "track": (name,), "stages": {name: section}}
        shared = workdir / "shared" / f"{name}-{digest(own)}"
        with _timed(shared):
            train_and_evaluate(own, shared)
        key, file = HANDED_ON[section["task"]]
        config["stages"][last][key] = str((shared / name / file).absolute())
    with _timed(folder):
        train_and_evaluate(config, folder)


@contextmanager
def _timed(folder: Path) -> Iterator[None]:
    """Adds what a training takes to what it has taken before it was interrupted."""
    begun, path = time.monotonic(), folder / SECONDS
    try:
        yield
    finally:
        if folder.is_dir():
            before = json.loads(path.read_text()) if path.exists() else 0.0
            atomic.write(path, json.dumps(before + time.monotonic() - begun).encode())


def _measure(run: Run, folder: Path) -> None:
    """Detects in what was held out (or in the evaluation split) and writes the scores, last of all."""
    name, data = run.config["track"][-1], run.config["data"]
    stage = build_stage(json.loads((folder / "config.json").read_text()), name, folder)
    if data["holdout_ids"]:
        split, index = stage.training, stage.eval_index
    else:
        split = open_split(data["dir"], data["eval_split"])
        index = np.arange(len(split))
    truth, predictor = truth_table(split, index), Predictor(stage.task, local_mesh())
    values = []
    for member, seed in enumerate(run.seeds):
        params = restore_params(folder, name, member=member if len(run.seeds) > 1 else 0)
        batch_size = run.config["stages"][name]["batch_size"]
        found = predictor(params, split, stage.assembler, index=index, batch_size=batch_size)
        scores = _scores(truth, found, split.metadata.labels, stage.kind)
        size = float(sum(np.size(leaf) for leaf in jax.tree.leaves(params)))
        values.append({**scores, "parameters": size, "seconds": json.loads((folder / SECONDS).read_text())})
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            recordings=index,
            labels=np.array(split.metadata.labels),
            **{f"truth_{k}": v for k, v in vars(truth).items()},
            **{f"found_{k}": v for k, v in vars(found).items()},
        )
        atomic.write(folder / FOUND.format(seed), buffer.getvalue())
    atomic.write(folder / RESULT, json.dumps({"digest": run.digest, "values": values}, indent=1).encode())


def _scores(truth: SegmentTable, found: SegmentTable, labels: tuple[str, ...], kind: str) -> dict[str, float]:
    """Fractions: mAP where the stage knows classes, AR@AN and AUC of the segments alone."""
    result = evaluate_proposals(truth, found)
    recall = {f"AR@{n}": float(result.average_recall[n - 1]) for n in (1, 5, 10, 100)}
    if kind == "bmn":
        return {"AUC": result.auc, **recall}
    high, low = (evaluate_detections(truth, found, labels, tiou) for tiou in (HIGH, LOW))
    at = {f"mAP@{t:.2f}": float(m) for t, m in zip(high.tiou, high.mAP, strict=True) if t in (0.5, 0.75, 0.95)}
    return {"average_mAP": high.average, "low_mAP": low.average, **at, "AUC": result.auc, **recall}


def _read(run: Run, folder: Path, seed: int, values: Mapping[str, float]) -> Outcome:
    with np.load(folder / FOUND.format(seed), allow_pickle=False) as file:
        arrays: dict[str, Any] = dict(file)
    truth, found = (
        SegmentTable(**{k.removeprefix(f"{name}_"): v for k, v in arrays.items() if k.startswith(f"{name}_")})
        for name in ("truth", "found")
    )
    labels = tuple(str(label) for label in arrays["labels"])
    return Outcome(run.row, run.fold, seed, values, truth, found, arrays["recordings"], labels)
