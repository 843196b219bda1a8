"""Supervised track on small sets of videos, with features of launch.encode; widths and classes come from the data.

python -m launch.encode --videos=VIDEOS --recipe=lite0_10hz --weights=FILE --out=FEATURES
python -m launch.prepare --annotations=annotations.json --features=rgb=FEATURES --out=DATA
python -m launch.train --config=configs/supervised_videos.py --workdir=W --config.data.dir=DATA

`:classifier`, `:video` and `:joint`: see configs/supervised.py.
"""

from ml_collections import ConfigDict

from tal_jax.configs import supervised


def get_config(variant: str = "head") -> ConfigDict:
    """Small models: tens of videos, one CPU."""
    config = supervised.get_config()
    config.data.normalize = True
    bmn, tcanet = config.stages.bmn, config.stages.tcanet

    bmn.steps, bmn.batch_size, bmn.eval_every_steps = 300, 8, 0
    bmn.data.update(longest_action=96, max_snippets=256, noise=0.4, gain=0.2)
    bmn.model.update(hidden=64, proposal_hidden=16, map_hidden=32, map_conv_hidden=32, bins=16)
    bmn.optimizer.update(learning_rate=1e-3, weight_decay=1e-3, warmup_steps=30, schedule="cosine", clip_norm=1.0)
    bmn.ema_decay = 0.99

    tcanet.steps, tcanet.batch_size, tcanet.eval_every_steps = 300, 8, 0
    tcanet.data.update(longest_action=96, max_snippets=256, proposals=48, train_proposals=24, noise=0.4, gain=0.2)
    tcanet.model.update(
        hidden=64,
        regressor_hidden=64,
        frame_hidden=64,
        ffn=64,
        context=8,
        inside=16,
        context_inside=0.25,
        encoder_variant="released",
        snippet_head=True,
    )
    tcanet.options.update(jitter=0.1, regression_beta=0.05, proposal_power=0.0, confidence_stages=(0,))
    tcanet.optimizer.update(learning_rate=1e-3, weight_decay=1e-3, warmup_steps=30, schedule="cosine", clip_norm=1.0)
    tcanet.ema_decay = 0.99
    config.checkpoint.every_steps = 100
    supervised.choose_classes(config, variant)
    if variant == "classifier":
        classifier = config.stages.classifier
        classifier.steps, classifier.batch_size, classifier.eval_every_steps = 300, 8, 0
        classifier.model.hidden = 64
        classifier.data.update(max_snippets=256, noise=0.4, gain=0.2)
        classifier.optimizer.update(warmup_steps=30, schedule="cosine", clip_norm=1.0)
    return config
