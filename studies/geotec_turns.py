"""Phone recordings, five of the eighteen training people held out: rotation of training rows, and how much noise then.

python -m launch.study --config=studies/geotec_turns.py --data=DATA --workdir=runs/study/geotec_turns
"""

from studies.geotec_choose import HELD_OUT, NOISE, UPRIGHT, turned
from tal_jax.train.study import Study


def get_config() -> Study:
    """The config of before, then rotations."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={
            "upright": UPRIGHT | {NOISE: 1.2},
            "rotation_0.4": turned(0.4, False) | {NOISE: 1.2},
            "rotation_3": turned(3.0, False) | {NOISE: 1.2},
            "turns_0.2": turned(0.2, True) | {NOISE: 1.2},
            "turns_0.4_noise_0.6": turned(0.4, True) | {NOISE: 0.6},
            "turns_0.4_noise_0.3": turned(0.4, True) | {NOISE: 0.3},
            "turns_0.8_noise_0.6": turned(0.8, True) | {NOISE: 0.6},
            "upright_noise_0.3": UPRIGHT | {NOISE: 0.3},
        },
        seeds=(0, 1),
        folds={"five": HELD_OUT},
    )
