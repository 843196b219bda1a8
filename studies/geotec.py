"""Phone recordings: the config, and what it was before; measured on the validation people, nothing is chosen here.

python -m launch.study --config=studies/geotec.py --data=DATA --workdir=runs/study/geotec
"""

from tal_jax.experiments.study import Study
from tal_jax.studies.geotec_turns import BEFORE, NOISE, PERSON


def get_config() -> Study:
    """The config, then its two earlier states: rows not rotated, time stretched, more noise and less."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={"config": {}, "noise_1.2": BEFORE, "noise_0.4": BEFORE | {NOISE: 0.4}},
        groups=PERSON,
    )
