"""Phone recordings: the config, and what it was before more noise was chosen on the training people.

python -m launch.study --config=studies/geotec.py --data=DATA --workdir=runs/study/geotec

Measured on the validation people; nothing is chosen here.
"""

from tal_jax.train.study import Study


def get_config() -> Study:
    """Noise of 1.2 standard deviations on TCANet's features in training against 0.4."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={"noise_0.4": {"stages.tcanet.data.noise": 0.4}, "config": {}},
    )
