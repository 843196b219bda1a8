"""Weakly-supervised track on ActivityNet 1.3: features resized to 100 snippets, labels only.

python -m launch.prepare --annotations=activity_net.json --features=x=FEATURES --stride=resized --out=DATA
python -m launch.train --config=configs/weak_activitynet.py:ccm --workdir=W --config.data.dir=DATA
python -m launch.tune --workdir=W

Variants are the rows of the report's Table 2; `:ktm` and `:full` (the default) need trimmed clips in the prepared set
(`--clips=C.json --clip_features=x=CLIPS`), for instance of Kinetics, labelled with ActivityNet's classes. Without
clips, full without its knowledge transfer is `--config.stages.mgfn.options.mmd_weight=0.0`.
Not measured with this code.
"""

from ml_collections import ConfigDict

from tal_jax.configs import weak


def get_config(row: str = "full") -> ConfigDict:
    """All recordings resized to 100 snippets."""
    config = weak.get_config()
    config.stages.mgfn.data.update(mode="resize", snippets=100)
    config.stages.trimmed.data.update(scale=1.0, max_snippets=64)
    weak.choose_row(config, row)
    return config
