"""Phone recordings: the config, and what it was before; measured on the validation people, nothing is chosen here.

python -m launch.study --config=studies/geotec.py --data=DATA --workdir=runs/study/geotec
"""

from studies.geotec_choose import BEFORE, EARLIER, NOISE
from tal_jax.train.study import Study


def get_config() -> Study:
    """The config, then its two earlier states: rows not rotated, time stretched, more noise and less."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={"config": {}, "noise_1.2": EARLIER | {NOISE: 1.2}, "noise_0.4": BEFORE},
    )
