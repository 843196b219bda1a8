"""What all configs of the weakly-supervised track share: KT-MGFN, row by row of the report's Table 2.

Not meant to be trained itself; take configs/weak_{hacs,activitynet,thumos,watch}.py.
"""

from ml_collections import ConfigDict

from tal_jax.stages.config import default_config

ROWS = ("cas", "mdcm", "ccm", "ktm", "full")


def get_config() -> ConfigDict:
    """What differs from the defaults of the sections, the model and the task: the row `full`."""
    config = default_config(trimmed="trimmed", mgfn="mgfn")
    config.data.holdout = 0.1  # this share of recordings and clips is left to launch.tune
    for stage in config.stages.values():
        stage.batch_size, stage.eval_every_steps = 32, 1_000
        stage.optimizer.update(learning_rate=1e-4, weight_decay=1e-3, warmup_steps=500)
        stage.options.update(mmd_weight=0.1, oic_weight=0.1)
    config.stages.trimmed.steps, config.stages.mgfn.steps = 5_000, 10_000
    config.stages.mgfn.regressor = True
    return config


def choose_row(config: ConfigDict, row: str) -> None:
    """Switches off, in place, what the row of the ladder does not have yet.

    cas: one branch, one stage. mdcm: + dilated branches. ccm: + the second stage on erased features. ktm: + knowledge
    of the trimmed branch, and spliced clips where the config has them. full: + boundary regression.
    """
    if row not in ROWS:
        raise ValueError(f"variant is one of {', '.join(ROWS)}, not {row!r}")
    has = set(ROWS[: ROWS.index(row) + 1])
    mgfn, trimmed = config.stages.mgfn, config.stages.trimmed
    for stage in (mgfn, trimmed):
        if "mdcm" not in has:
            stage.model.dilations = (1,)
        stage.model.cascade = "ccm" in has
    if "ktm" not in has:
        config.track = ("mgfn",)
        mgfn.options.mmd_weight = 0.0
        mgfn.splice = 0.0
    if "full" not in has:
        mgfn.regressor = False
        mgfn.options.segments = "auto"
        mgfn.options.oic_weight = 0.0
