"""Phone recordings, five of the eighteen training people held out: rotation of training rows, and what changes then.

python -m launch.study --config=studies/geotec_turns.py --data=DATA --workdir=runs/study/geotec_turns
"""

from studies.geotec_choose import EARLIER, HELD_OUT, NOISE, TCANET, UPRIGHT, turned
from tal_jax.train.study import Study

STEPS = f"{TCANET}.steps"
BEFORE = EARLIER | {NOISE: 1.2}
TURNED = turned(0.4, True)


def get_config() -> Study:
    """The config of before, then rotations with less and less noise, then without stretching time, then longer."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={
            "before": BEFORE,
            "rotation_0.4": BEFORE | turned(0.4, False),
            "rotation_3": BEFORE | turned(3.0, False),
            "turned_0.2": BEFORE | turned(0.2, True),
            "turned_noise_0.6": BEFORE | TURNED | {NOISE: 0.6},
            "turned_noise_0.3": BEFORE | TURNED | {NOISE: 0.3},
            "not_stretched": TURNED | {NOISE: 0.3, STEPS: 800},
            "steps_1600": TURNED | {NOISE: 0.3, STEPS: 1600},
            "upright": UPRIGHT | {NOISE: 0.3, STEPS: 800},
        },
        seeds=(0, 1),
        folds={"five": HELD_OUT},
    )
