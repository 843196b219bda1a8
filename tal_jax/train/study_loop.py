"""All trainings of a study one after the other, with an estimate of what is left, and its tables at the end."""

import time
from pathlib import Path

from tal_jax.evaluation import study_files
from tal_jax.evaluation.study_summary import Outcome, summarize
from tal_jax.train.processes import first, say
from tal_jax.train.study import Study, runs
from tal_jax.train.study_run import outcomes


def carry_out(study: Study, data: str, workdir: Path, *, title: str, resamples: int) -> str:
    """Trains, measures and writes; what is finished is not repeated.

    Args:
      study: to carry out.
      data: prepared set.
      workdir: for everything.
      title: of the picture.
      resamples: for the intervals.

    Returns:
      The summary as a Markdown table.

    Raises:
      InputError: anything wrong with the study or the data.
      Interrupted: see `train_and_evaluate`.
    """
    workdir = workdir.absolute()
    plan = list(runs(study, data))
    found: list[Outcome] = []
    begun, done = time.monotonic(), 0
    for i, run in enumerate(plan):
        started = time.monotonic()
        seeds = f"seed{'s' if len(run.seeds) > 1 else ''} {', '.join(map(str, run.seeds))}"
        say(f"\n[{i + 1}/{len(plan)}] row {run.row}, fold {run.fold}, {seeds}")
        found += outcomes(run, workdir)
        mean = " ".join(f"{k} {100 * v:.1f}" for k, v in found[-1].values.items() if k in ("average_mAP", "AUC"))
        done += time.monotonic() - started > 1  # a finished one is only read
        each = (time.monotonic() - begun) / max(done, 1)
        say(f"{mean}; about {each * (len(plan) - i - 1) / 60:.0f} min left" if done else mean)
    lines = summarize(found, study.reference, resamples=resamples)
    if first():
        workdir.mkdir(parents=True, exist_ok=True)
        study_files.write(workdir, found, lines, title)
    return f"{study_files.markdown(lines)}\n{workdir}: {len(found)} trainings, summary.md, summary.png, runs.parquet"
