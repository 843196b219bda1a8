"""Phone recordings, five of the eighteen training people held out: parts of the config, and joint training.

python -m launch.study --config=studies/geotec_parts.py --data=DATA --workdir=runs/study/geotec_parts
"""

from studies.geotec_choose import HELD_OUT, TCANET
from tal_jax.train.study import Study


def get_config() -> Study:
    """The present config, then what differs from it."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={
            "config": {},
            "joint": {"variant": "joint"},
            "frame_level": {f"{TCANET}.model.segment_level": False},
            "segment_level": {f"{TCANET}.model.frame_level": False},
            "stages_1": {f"{TCANET}.model.stages": 1, f"{TCANET}.options.thresholds": (0.5,)},
            "no_lgte": {f"{TCANET}.model.encoders": 0},
            "no_ema": {f"{TCANET}.ema_decay": 0.0},
            "no_jitter": {f"{TCANET}.options.jitter": 0.0},
            "beta_1": {f"{TCANET}.options.regression_beta": 1.0},
            "not_normalized": {"data.normalize": False},
        },
        seeds=(0, 1),
        folds={"five": HELD_OUT},
    )
