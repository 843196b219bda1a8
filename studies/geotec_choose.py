"""Phone recordings: what to try is chosen on five of the eighteen training people, held out; see docs/accuracy.md.

python -m launch.study --config=studies/geotec_choose.py --data=DATA --workdir=runs/study/geotec_choose
"""

from tal_jax.train.study import Study

HELD_OUT = ("s01_*", "s02_*", "s03_*", "s05_*", "s06_*")
TCANET = "stages.tcanet"
MORE = {f"{TCANET}.data.noise": 1.0, f"{TCANET}.data.shift": 0.3, f"{TCANET}.model.dropout": 0.3}


def get_config() -> Study:
    """The present config, and what a careful engineer would try."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={
            "base": {},
            "shift_0.3": {f"{TCANET}.data.shift": 0.3},
            "dropout_0.3": {f"{TCANET}.model.dropout": 0.3},
            "steps_1600": {f"{TCANET}.steps": 1600},
            "decay_0.03": {f"{TCANET}.optimizer.weight_decay": 0.03},
            "stretch_0.5": {f"{TCANET}.data.stride_jitter": 0.5},
            "noise_0.8": {f"{TCANET}.data.noise": 0.8},
            "noise_1.2": {f"{TCANET}.data.noise": 1.2},
            "noise_1_and_more": MORE,
            "noise_1.6_and_more": MORE | {f"{TCANET}.data.noise": 1.6},
            "noise_0.8_dropout": {f"{TCANET}.data.noise": 0.8, f"{TCANET}.model.dropout": 0.3},
            "noise_1.2_bmn": {f"{TCANET}.data.noise": 1.2, "stages.bmn.data.noise": 0.8},
        },
        seeds=(0, 1),
        folds={"five": HELD_OUT},
    )
