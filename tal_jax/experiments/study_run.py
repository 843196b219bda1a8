"""The run of a study: its trainings one after the other, an estimate of what is left, its tables at the end."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tal_jax.data.dataset import read_metadata
from tal_jax.devices.processes import say
from tal_jax.errors import InputError
from tal_jax.experiments import study_files
from tal_jax.experiments.study import Run, Study, runs
from tal_jax.experiments.study_summary import Outcome, summarize
from tal_jax.experiments.study_training import check_annotated, finished, measured, outcomes
from tal_jax.stages.config import parse
from tal_jax.train.trainable import plan_training


def carry_out(study: Study, data: str, workdir: Path, *, title: str, resamples: int, prefix: str = "") -> str:
    """Trains, measures and writes; what is finished is not repeated.

    Args:
      study: the study to carry out.
      data: the folder of the prepared set.
      workdir: the folder for trainings and tables.
      title: the title of the picture.
      resamples: how many resamples the intervals are made from.
      prefix: comes before the names of the tables.

    Returns:
      The summary as a Markdown table.

    Raises:
      InputError: something is wrong with the study or the data, before the first training where it can be known.
      Interrupted: see `train_and_evaluate`.
    """
    workdir = workdir.absolute()
    plan = list(runs(study, data, read_metadata(data).fingerprint))
    left = 0
    rows: set[str] = set()
    for run in plan:
        check(run, trace=run.row not in rows)  # seeds and folds of a row have one model
        rows.add(run.row)
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


def check(run: Run, *, trace: bool = True) -> None:
    """Builds what a run's stages are made of, and opens what it is measured on; `trace`: see `plan_training`.

    Raises:
      InputError: a key or a value does not fit, or there is nothing to measure.
    """
    where = f"study: row {run.row}"
    try:
        config = parse(run.config)
        check_annotated(run)
        plan_training(config, Path(os.devnull, "nothing"), trace=trace)  # no stage has begun there
    except InputError as e:
        raise InputError(f"{where}: {e}") from e
    except (KeyError, TypeError, ValueError) as e:
        raise InputError(f"{where}: {type(e).__name__}: {e}") from e
