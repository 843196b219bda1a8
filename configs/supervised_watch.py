"""The demo: smart-watch sessions composed by launch.watch; BMN on a coarse grid, TCANet on a fine one.

python -m launch.watch --out=runs/demo/sessions
python -m launch.prepare --annotations=runs/demo/sessions/annotations.json --features=imu=runs/demo/sessions/features \
    --stride=0.2 --out=runs/demo/data
python -m launch.train --config=configs/supervised_watch.py --workdir=runs/demo/work --config.data.dir=runs/demo/data
"""

from ml_collections import ConfigDict

from tal_jax.configs import supervised, supervised_geotec


def get_config(variant: str = "head") -> ConfigDict:
    """The small sensor models with a step count for a demonstration."""
    config = supervised_geotec.get_config("head" if variant == "joint" else variant)
    bmn, tcanet = config.stages.bmn, config.stages.tcanet
    bmn.steps, bmn.eval_every_steps = 200, 0
    bmn.data.longest_action = 16
    tcanet.steps, tcanet.eval_every_steps = 300, 0
    tcanet.data.update(longest_action=40, proposals=32, train_proposals=16)
    for stage in (bmn, tcanet):  # a short training wants less augmentation
        stage.data.update(stride_jitter=0.15, noise=0.2, gain=0.0)
    if variant == "classifier":
        config.stages.classifier.data.stride_jitter = 0.3
    for stage in config.stages.values():  # snippets hold statistics
        stage.data.update(rotation=0.0, half_turns=False)
    if variant == "joint":
        supervised.choose_classes(config, variant, pool=2)
    return config
