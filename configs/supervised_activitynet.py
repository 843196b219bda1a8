"""Supervised track on ActivityNet 1.3, features of any encoder, resized to 100 snippets.

python -m launch.prepare --annotations=activity_net.v1-3.min.json --features=tsn=FEATURES --stride=resized \
    --missing=skip --out=DATA
python -m launch.train --config=configs/supervised_activitynet.py --workdir=W --config.data.dir=DATA \
    --config.stages.tcanet.class_scores=SCORES.json

BMN's published schedule (Adam 1e-3, 9 epochs of 16 videos, T = 100; published AUC 67.1-67.7, average mAP 34.2); not
measured with this code. Variants as in supervised_hacs.py.
"""

from ml_collections import ConfigDict

from tal_jax.configs import supervised

STEPS_PER_EPOCH = 9_649 // 16


def get_config(variant: str = "head") -> ConfigDict:
    """Everything on 100 snippets."""
    config = supervised.get_config()
    bmn, tcanet = config.stages.bmn, config.stages.tcanet
    bmn.data.update(mode="resize", snippets=100)
    bmn.model.durations = 100
    bmn.steps = 9 * STEPS_PER_EPOCH
    tcanet.data.update(mode="resize", snippets=100, proposals=100)
    tcanet.steps = 9 * STEPS_PER_EPOCH
    tcanet.optimizer.warmup_steps = 500
    supervised.choose_classes(config, variant)
    return config
