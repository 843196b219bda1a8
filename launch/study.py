"""Trains a table of settings with several seeds, and says what differs from a baseline by more than chance.

python -m launch.study --config=studies/supervised_watch.py --data=DATA --workdir=W [--rows=a,b] [--seeds=0,1,2]
    [--resamples=1000]

A study is a config file and rows of changes to it; with folds, parts of the training recordings are held out and
measured, otherwise the evaluation split is. Interrupted, the same command goes on. Rows with the same settings of a
first stage share it. Writes W/runs.{csv,parquet}, W/summary.{csv,md,png} and, where the study groups recordings,
W/groups.{csv,png} (of --rows or --seeds: W/partial_..); the trainings are under W/runs and W/shared.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tal_jax.commands import app, config_flag

_CONFIG = flags.DEFINE_string("config", None, "File with a study.", required=True)
_DATA = flags.DEFINE_string("data", None, "Prepared set.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for trainings and results.", required=True)
_ROWS = flags.DEFINE_list("rows", [], "These rows, and the baseline, alone.")
_SEEDS = flags.DEFINE_list("seeds", [], "Other seeds than the study's.")
_RESAMPLES = flags.DEFINE_integer("resamples", 1000, "For the intervals.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Trains what is not trained yet, and writes the tables."""
    del argv
    from tal_jax.devices.compilation import use_cache
    from tal_jax.experiments import study
    from tal_jax.experiments.study_run import carry_out

    try:
        seeds = [int(seed) for seed in _SEEDS.value]
    except ValueError:
        app.fail(f"--seeds={','.join(_SEEDS.value)}: give whole numbers, such as 0,1,2")
    use_cache()
    whole = study.load(config_flag.located("studies", _CONFIG.value))
    config_flag.located("configs", whole.config)  # says which file it is
    chosen = whole.narrowed(_ROWS.value, seeds)
    print(
        carry_out(
            chosen,
            _DATA.value,
            Path(_WORKDIR.value),
            title=_CONFIG.value,
            resamples=_RESAMPLES.value,
            prefix="" if chosen == whole else "partial_",
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, reads=[_CONFIG, _DATA], fills=[_WORKDIR], abrupt=True)
