"""Supervised track on THUMOS14: long videos with short actions, cut into overlapping windows.

python -m launch.prepare --annotations=thumos14.json --features=i3d=FEATURES --stride=0.1333333 --out=DATA
python -m launch.train --config=configs/supervised_thumos.py --workdir=W --config.data.dir=DATA

THUMOS14 trains on its `validation` subset and is evaluated on `test`. The stride is that of I3D features with one
snippet every 4 frames at 30 fps. Not measured with this code. Variants as in supervised_hacs.py.
"""

from ml_collections import ConfigDict

from tal_jax.configs import supervised


def get_config(variant: str = "head") -> ConfigDict:
    """Windows of 256 snippets; BMN's longest proposals span 128 of them."""
    config = supervised.get_config()
    config.data.update(train_split="validation", eval_split="testing")
    bmn, tcanet = config.stages.bmn, config.stages.tcanet
    bmn.data.update(snippets=256, scale=1.0)
    bmn.model.durations = 128
    bmn.options.update(candidates=1000, proposals=200)
    bmn.steps = 5_000
    bmn.eval_every_steps = 1_000
    tcanet.data.update(snippets=512, scale=1.0, proposals=200)
    tcanet.steps = 5_000
    tcanet.eval_every_steps = 1_000
    tcanet.optimizer.warmup_steps = 500
    supervised.choose_classes(config, variant, pool=2)
    return config
