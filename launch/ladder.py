"""Trains every row of a weakly-supervised config (report, Table 2), tunes each, and prints what each module adds.

python -m launch.ladder --config=configs/weak_watch.py --data=DATA --annotations=A.json --workdir=runs/demo-weak
    [--rows=cas,mdcm,ccm,ktm,full] [--seed=0] [--supervised=D.json]

Writes W/ladder.json (row -> average mAP over 0.1:0.1:0.7 with the decoding of the config), W/scores.json (both
averages; also without smoothing, and as launch.tune chose), W/ROW.json (detections) and W/cas.png. A row that is
finished is not trained again.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tal_jax.commands import app, config_flag

_CONFIG = flags.DEFINE_string("config", None, "Config file whose variants are the rows.", required=True)
_DATA = flags.DEFINE_string("data", None, "Prepared set, with clips.", required=True)
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "Annotations of the split to measure on.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for workdirs and results.", required=True)
_ROWS = flags.DEFINE_list("rows", ["cas", "mdcm", "ccm", "ktm", "full"], "Variants, from simple to full.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the training.", lower_bound=0)
_SPLIT = flags.DEFINE_string("split", "validation", "Split to measure on.")
_SUPERVISED = flags.DEFINE_string("supervised", None, "Detections of a supervised training on the same recordings.")
_PICTURED = flags.DEFINE_integer("pictured", 4, "Recordings in the picture.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Trains, tunes and measures the rows."""
    del argv
    from tal_jax.devices.compilation import use_cache
    from tal_jax.experiments import weak_ablation

    use_cache()
    config = config_flag.located("configs", _CONFIG.value)
    table = weak_ablation.run_ablation(
        weak_ablation.load_rows(config, _ROWS.value, _DATA.value, _SEED.value),
        Path(_WORKDIR.value),
        ground_truth=_ANNOTATIONS.value,
        split=_SPLIT.value,
        supervised=_SUPERVISED.value,
        pictured=_PICTURED.value,
    )
    print(table)


def _results() -> list[str]:
    return [*(f"{row}.json" for row in _ROWS.value), "ladder.json", "scores.json", "cas.png"]


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, reads=[_CONFIG, _DATA, _ANNOTATIONS, _SUPERVISED], fills=[_WORKDIR], files=_results, abrupt=True)
