"""Phone recordings: each of the eighteen training people is held out once; without rotation, and without encoders.

python -m launch.study --config=studies/geotec_people.py --data=DATA --workdir=runs/study/geotec_people
"""

from tal_jax.experiments.study import Study
from tal_jax.studies.geotec_turns import HELD_OUT, PERSON, TCANET, UPRIGHT


def get_config() -> Study:
    """The config, and without what seems to be worth most."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={"config": {}, "upright": UPRIGHT, "no_lgte": {f"{TCANET}.model.encoders": 0}},
        folds={
            "five": HELD_OUT,
            "four": ("s07_*", "s09_*", "s10_*", "s11_*"),
            "four_more": ("s13_*", "s14_*", "s15_*", "s17_*"),
            "last_five": ("s18_*", "s19_*", "s21_*", "s22_*", "s23_*"),
        },
        groups=PERSON,
    )
