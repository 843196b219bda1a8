"""Phone recordings: what to try is chosen on five of the eighteen training people, held out; see docs/accuracy.md.

Of the time before rows were rotated: studies/geotec_turns.py is what was chosen then.

python -m launch.study --config=studies/geotec_choose.py --data=DATA --workdir=runs/study/geotec_choose
"""

from tal_jax.train.study import Study

HELD_OUT = ("s01_*", "s02_*", "s03_*", "s05_*", "s06_*")
TCANET = "stages.tcanet"
NOISE = f"{TCANET}.data.noise"


def turned(rotation: float, half_turns: bool) -> dict[str, object]:
    """Both stages' rotation of training rows."""
    settings = {"rotation": rotation, "half_turns": half_turns}
    return {f"stages.{stage}.data.{key}": value for stage in ("bmn", "tcanet") for key, value in settings.items()}


UPRIGHT = turned(0.0, False)
STRETCHED = {f"stages.{stage}.data.stride_jitter": 0.3 for stage in ("bmn", "tcanet")}
EARLIER = UPRIGHT | STRETCHED | {f"{TCANET}.steps": 800}  # the config had this when these rows were tried
BEFORE = EARLIER | {NOISE: 0.4}
MORE = EARLIER | {NOISE: 1.0, f"{TCANET}.data.shift": 0.3, f"{TCANET}.model.dropout": 0.3}


def get_config() -> Study:
    """The config as it was, and what a careful engineer would try."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={
            "base": BEFORE,
            "shift_0.3": BEFORE | {f"{TCANET}.data.shift": 0.3},
            "dropout_0.3": BEFORE | {f"{TCANET}.model.dropout": 0.3},
            "steps_1600": BEFORE | {f"{TCANET}.steps": 1600},
            "decay_0.03": BEFORE | {f"{TCANET}.optimizer.weight_decay": 0.03},
            "stretch_0.5": BEFORE | {f"{TCANET}.data.stride_jitter": 0.5},
            "noise_0.8": EARLIER | {NOISE: 0.8},
            "noise_1.2": EARLIER | {NOISE: 1.2},
            "noise_1_and_more": MORE,
            "noise_1.6_and_more": MORE | {NOISE: 1.6},
        },
        seeds=(0, 1),
        folds={"five": HELD_OUT},
    )
