"""All trainings of a study one after the other, with an estimate of what is left, and its tables at the end."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.data.dataset import open_split, read_metadata
from tal_jax.data.framing import choose_framing
from tal_jax.devices.processes import say
from tal_jax.errors import InputError
from tal_jax.experiments import study_files
from tal_jax.experiments.study import Run, Study, runs
from tal_jax.experiments.study_summary import Outcome, summarize
from tal_jax.experiments.study_training import check_annotated, finished, measured, outcomes
from tal_jax.stages.config import CONFIG_KEYS, DATA_KEYS, FRAMING_KEYS, SHARED_DATA_KEYS, STAGE_KEYS, checked
from tal_jax.stages.methods import WEAK, build_task
from tal_jax.stages.stage import CLIPS
from tal_jax.train.optimizer import build_optimizer


def carry_out(study: Study, data: str, workdir: Path, *, title: str, resamples: int, prefix: str = "") -> str:
    """Trains, measures and writes; what is finished is not repeated.

    Args:
      study: to carry out.
      data: prepared set.
      workdir: for everything.
      title: of the picture.
      resamples: for the intervals.
      prefix: of the tables' names.

    Returns:
      The summary as a Markdown table.

    Raises:
      InputError: anything wrong with the study or the data, before the first training where that can be known.
      Interrupted: see `train_and_evaluate`.
    """
    workdir = workdir.absolute()
    plan = list(runs(study, data, read_metadata(data).fingerprint))
    left = 0
    for run in plan:
        check(run)
        left += not finished(run, workdir)
    _check_folds(plan)
    found: list[Outcome] = []
    begun, done = time.monotonic(), 0
    for i, run in enumerate(plan):
        seeds = f"seed{'s' if len(run.seeds) > 1 else ''} {', '.join(map(str, run.seeds))}"
        say(f"\n[{i + 1}/{len(plan)}] row {run.row}, fold {run.fold}, {seeds}")
        trained = not finished(run, workdir)
        found += outcomes(run, workdir)
        done += trained
        mean = " ".join(f"{k} {100 * v:.1f}" for k, v in found[-1].values.items() if k in ("average_mAP", "AUC"))
        each = (time.monotonic() - begun) / max(done, 1)
        say(f"{mean}; about {each * (left - done) / 60:.0f} min left" if done else mean)
    lines = summarize(found, study.reference, resamples=resamples)
    workdir.mkdir(parents=True, exist_ok=True)
    written = study_files.write(workdir, found, lines, title=title, baseline=study.reference, prefix=prefix)
    return f"{study_files.markdown(lines)}\n{workdir}: {len(found)} trainings, {', '.join(written)}"


def _check_folds(plan: Sequence[Run]) -> None:
    """Raises InputError where a group is measured in two folds: it would be counted as two that differ by chance."""
    seen: dict[str, str] = {}
    for run in {run.fold: run for run in plan if run.groups}.values():
        for group in map(str, np.unique(measured(run)[2])):
            if group in seen:
                raise InputError(f"study: group {group} is in folds {seen[group]} and {run.fold}: hold it out in one")
            seen[group] = run.fold


def check(run: Run) -> None:
    """Builds what a run's stages are made of, and opens what it is measured on.

    Raises:
      InputError: a key or a value that does not fit, or nothing to measure.
    """
    config, where = run.config, f"study: row {run.row}"
    try:
        checked(config, CONFIG_KEYS, "config")
        checked(config["data"], SHARED_DATA_KEYS, "data")
        check_annotated(run)
        for name in config["track"]:
            _check_stage(config, name)
    except InputError as e:
        raise InputError(f"{where}: {e}") from e
    except (KeyError, TypeError, ValueError) as e:
        raise InputError(f"{where}: {type(e).__name__}: {e}") from e


def _check_stage(config: Mapping[str, Any], name: str) -> None:
    stage, data = config["stages"][name], config["data"]
    checked(stage, STAGE_KEYS, f"stages.{name}")
    frame = checked(stage["data"], DATA_KEYS, f"stages.{name}.data")
    split = open_split(data["dir"], CLIPS if stage["task"] == "trimmed" else data["train_split"])
    metadata = split.metadata.without_segments() if stage["task"] in WEAK else split.metadata
    framing = choose_framing(metadata, int(split.num_snippets.max()), **{k: frame[k] for k in FRAMING_KEYS})
    build_task(stage, metadata, framing, f"stages.{name}")
    build_optimizer(steps=int(stage["steps"]), **stage["optimizer"])
