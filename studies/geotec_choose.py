"""Phone recordings: what to try is chosen on five of the eighteen training people, held out; docs/accuracy.md.

python -m launch.study --config=studies/geotec_choose.py --data=DATA --workdir=runs/study/geotec_choose
"""

from tal_jax.train.study import Study

HELD_OUT = ("s01_*", "s02_*", "s03_*", "s05_*", "s06_*")


def get_config() -> Study:
    """Rows of settings that might help."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={"base": {}},
        seeds=(0, 1),
        folds={"five": HELD_OUT},
    )
