"""The weight of MMD, chosen on sixty of the training sessions, held out.

python -m launch.study --config=studies/weak_choose.py --data=DATA --workdir=runs/study/weak_choose
"""

from tal_jax.experiments.study import Study


def get_config() -> Study:
    """The present config and none; the ids of the sessions do not tell whose they are."""
    return Study(
        config="configs/weak_watch.py",
        rows={"full": {}, "no_mmd": {"stages.mgfn.options.mmd_weight": 0.0}},
        folds={"sixty": ("watch_training_02[4-9]*",)},
    )
