"""Supervised track on small sets of videos, with features of launch.encode; widths and classes come from the data.

python -m launch.encode --videos=VIDEOS --recipe=lite0_10hz --weights=FILE --out=FEATURES
python -m launch.prepare --annotations=annotations.json --features=rgb=FEATURES --out=DATA
python -m launch.train --config=configs/supervised_videos.py --workdir=W --config.data.dir=DATA

`:classifier`, `:video` and `:joint`: see configs/supervised.py.
"""

from ml_collections import ConfigDict

from tal_jax.configs import supervised, supervised_geotec


def get_config(variant: str = "head") -> ConfigDict:
    """The small sensor models, narrower and for tens of videos; features of an encoder do not turn."""
    config = supervised_geotec.get_config("head" if variant == "joint" else variant)
    bmn, tcanet = config.stages.bmn, config.stages.tcanet
    bmn.model.update(hidden=64, map_hidden=32)
    tcanet.model.update(hidden=64, regressor_hidden=64, ffn=64)
    for stage in config.stages.values():
        stage.steps, stage.batch_size, stage.eval_every_steps = 300, 8, 0
        stage.data.update(max_snippets=256, noise=0.4, rotation=0.0, half_turns=False)
        stage.optimizer.warmup_steps = 30
    for stage in (bmn, tcanet):
        stage.data.longest_action = 96
    if variant == "classifier":
        config.stages.classifier.model.hidden = 64
    config.checkpoint.every_steps = 100
    if variant == "joint":
        supervised.choose_classes(config, variant)
    return config
