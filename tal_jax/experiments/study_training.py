"""One training of a study and its scores; rows with the same first stages share these."""

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tal_jax.data import atomic
from tal_jax.data.dataset import Split, open_split
from tal_jax.data.holdout import grouped, hold_out_ids
from tal_jax.devices.mesh import local_mesh
from tal_jax.errors import InputError
from tal_jax.evaluation.detection import HIGH_TIOU, LOW_TIOU, evaluate_detections
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.experiments.study import Run, digest
from tal_jax.experiments.study_summary import Outcome
from tal_jax.guarded import own_files
from tal_jax.stages.artifacts import made_file
from tal_jax.stages.config import parse, to_tree
from tal_jax.stages.plan import check_classes
from tal_jax.stages.predictor import Predictor, excusing_table, truth_table
from tal_jax.stages.recordings import located
from tal_jax.stages.stage import build_stage
from tal_jax.stages.track import needed
from tal_jax.stages.workdir import read_config
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.history import read_history
from tal_jax.train.loop import train_and_evaluate

RESULT, FOUND = "result.json", "found_seed{}.npz"


def measured(run: Run) -> tuple[Split, np.ndarray, np.ndarray]:
    """The recordings that a run is measured on.

    Args:
      run: the training.

    Returns:
      A split, [R] positions in it, and [R] the group that each of these recordings belongs to.

    Raises:
      InputError: there is no such split, an id names no group, or all recordings are of one group.
    """
    data = run.config["data"]
    if data["holdout_ids"]:
        split = open_split(data["dir"], data["train_split"])
        index = hold_out_ids(split, data["holdout_ids"])[1]
    else:
        split = open_split(data["dir"], data["eval_split"])
        index = np.arange(len(split))
    index = located(split, index)
    groups = grouped(split, index, run.groups)
    if len(np.unique(groups)) < 2:
        alone = f"group {groups[0]} alone" if run.groups and len(groups) else f"{len(index) or 'no'} recording"
        raise InputError(
            f"{data['dir']}: fold {run.fold} is measured on {alone}, which has no spread: choose other "
            f"{'groups, other ' if run.groups else ''}folds or another evaluation split"
        )
    return split, index, groups


def check_annotated(run: Run) -> None:
    """Raises InputError where nothing that a run is measured on is annotated."""
    split, index, _ = measured(run)
    if len(truth_table(split, index)) == 0:
        raise InputError(f"{split.directory}: fold {run.fold}: none of what it is measured on is annotated")


def finished(run: Run, workdir: Path) -> bool:
    """Whether a run is trained and scored.

    Args:
      run: the training.
      workdir: the folder of the study.

    Raises:
      InputError: the run's folder holds other settings, or another data set.
    """
    path = workdir / "runs" / run.folder / RESULT
    if not path.exists():
        return False
    if _result(path)["digest"] != run.digest:
        raise InputError(
            f"{path.parent}: holds row {run.row} with other settings or of another data set: choose another --workdir, "
            "or remove that folder"
        )
    return True


def outcomes(run: Run, workdir: Path) -> list[Outcome]:
    """Trains, unless that is done, and scores: an outcome for every seed.

    Args:
      run: the training.
      workdir: the folder of the study.

    Raises:
      InputError: something is wrong with config or data, or the run's folder holds other settings.
      Interrupted: see `train_and_evaluate`.
    """
    folder = workdir / "runs" / run.folder
    if not finished(run, workdir):
        shared = _train(run, workdir, folder)
        _measure(run, folder, shared)
    values = _result(folder / RESULT)["values"]
    *_, groups = measured(run)
    return [_read(run, folder, seed, own, groups) for seed, own in zip(run.seeds, values, strict=True)]


def _train(run: Run, workdir: Path, folder: Path) -> list[tuple[Path, str]]:
    """Trains all stages; returns where those are that other runs share, as (workdir, name)."""
    config, shared = parse(run.config), []
    last = config.track[-1]
    for name in config.track[:-1]:
        if not needed(config, name):
            continue
        section = config.stages[name]
        made = section.kind.makes
        if not made:
            raise InputError(f"study: row {run.row}: stage {name} hands nothing on, and is followed by another one")
        own = to_tree(dataclasses.replace(config, track=(name,), stages={name: section}))
        home = workdir / "shared" / f"{name}-{digest(own, run.fingerprint)}"
        train_and_evaluate(own, home)
        taker = config.stages[last]
        files = {**taker.files, made: str(made_file(home / name, made).absolute())}
        stages = {**config.stages, last: dataclasses.replace(taker, files=files)}
        config = dataclasses.replace(config, stages=stages)
        shared.append((home, name))
    train_and_evaluate(config, folder)
    return shared


def _measure(run: Run, folder: Path, shared: list[tuple[Path, str]]) -> None:
    """Detects in what was held out (or in the evaluation split) and writes the scores, last of all."""
    name = run.config["track"][-1]
    stage = build_stage(read_config(folder), name, folder)
    check_classes(stage)
    split, index, _ = measured(run)
    truth, predictor = truth_table(split, index), Predictor(stage.task, local_mesh())
    excusing = excusing_table(split, index)
    kept = {} if excusing is None else {f"excusing_{k}": v for k, v in vars(excusing).items()}
    seconds = sum(_seconds(*where) for where in (*shared, (folder, name)))
    values = []
    for member, seed in enumerate(run.seeds):
        params = restore_params(folder, name, member=member)
        found = predictor(params, split, stage.assembler, index=index, batch_size=stage.section.batch_size)
        scores = _scores(truth, found, split.metadata.labels, stage.task.measured_by, excusing)
        size = float(sum(np.size(leaf) for leaf in jax.tree.leaves(params)))
        values.append({**scores, "parameters": size, "seconds": seconds / len(run.seeds)})
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            recordings=index,
            labels=np.array(split.metadata.labels),
            **{f"truth_{k}": v for k, v in vars(truth).items()},
            **{f"found_{k}": v for k, v in vars(found).items()},
            **kept,
        )
        atomic.write(folder / FOUND.format(seed), buffer.getvalue())
    atomic.write(folder / RESULT, json.dumps({"digest": run.digest, "values": values}, indent=1).encode())


def _seconds(workdir: Path, stage: str) -> float:
    """Seconds that a stage's steps took, evaluations and starts left out, also where it was interrupted."""
    lines = [(p.step, p.value) for p in read_history(workdir, [stage]) if p.metric == "step_seconds"]
    steps = np.diff([0, *(step for step, _ in lines)])
    return float(sum(n * (value or 0.0) for n, (_, value) in zip(steps, lines, strict=True)))


def _scores(
    truth: SegmentTable,
    found: SegmentTable,
    labels: tuple[str, ...],
    measured_by: str,
    excusing: SegmentTable | None,
) -> dict[str, float]:
    """Scores as fractions by name: mAP where the stage knows classes, AR@AN and AUC of the segments alone."""
    result = evaluate_proposals(truth, found)
    recall = {f"AR@{n}": float(result.average_recall[n - 1]) for n in (1, 5, 10, 100)}
    if measured_by == "proposals":
        return {"AUC": result.auc, **recall}
    high, low = (evaluate_detections(truth, found, labels, tiou, excusing) for tiou in (HIGH_TIOU, LOW_TIOU))
    at = {f"mAP@{t:.2f}": float(m) for t, m in zip(high.tiou, high.mAP, strict=True) if t in (0.5, 0.75, 0.95)}
    return {"average_mAP": high.average, "low_mAP": low.average, **at, "AUC": result.auc, **recall}


def _result(path: Path) -> dict[str, Any]:
    try:
        result = own_files.read_object(path, "")
        result["digest"], result["values"][0]["AUC"]
    except (InputError, ValueError, KeyError, IndexError, TypeError) as e:
        raise _damaged(path, path.parent / RESULT) from e
    return result


def _read(run: Run, folder: Path, seed: int, values: Mapping[str, float], groups: np.ndarray) -> Outcome:
    path = folder / FOUND.format(seed)
    try:
        arrays = own_files.read_arrays(path, None, "")
        truth, found, excusing = (_table(arrays, name) for name in ("truth", "found", "excusing"))
        if truth is None or found is None:
            raise KeyError("a table")
        labels = tuple(str(label) for label in arrays["labels"])
        recordings = arrays["recordings"]
    except (InputError, ValueError, KeyError, TypeError) as e:
        raise _damaged(path, folder / RESULT) from e
    return Outcome(run.row, run.fold, seed, values, truth, found, recordings, labels, groups, excusing)


def _table(arrays: Mapping[str, np.ndarray], name: str) -> SegmentTable | None:
    columns = {k.removeprefix(f"{name}_"): v for k, v in arrays.items() if k.startswith(f"{name}_")}
    return SegmentTable(**columns) if columns else None


def _damaged(path: Path, result: Path) -> InputError:
    return InputError(f"{path}: missing or damaged: remove {result} and start again: that training is measured anew")
