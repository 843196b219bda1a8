"""Supervised track on small sensor sets; lengths, widths, classes and strides come from the data.

python -m launch.prepare --annotations=annotations.json --features=imu=features --stride=0.1 --out=DATA
python -m launch.train --config=configs/supervised_geotec.py --workdir=W --config.data.dir=DATA

`:classifier` takes classes from a classifier of whole recordings instead of TCANet's own head, `:video` from a file.
`:joint` trains both networks in one stage.
"""

from ml_collections import ConfigDict

from tal_jax.configs import supervised

TURNS = {"rotation": 0.4, "half_turns": True}  # of raw samples of three-axis sensors: see data.triaxial


def get_config(variant: str = "head") -> ConfigDict:
    """Small models: hundreds of recordings, one CPU."""
    config = supervised.get_config()
    config.data.normalize = True
    bmn, tcanet = config.stages.bmn, config.stages.tcanet

    bmn.steps, bmn.batch_size, bmn.eval_every_steps = 500, 16, 250
    bmn.data.update(longest_action=32, max_snippets=256, noise=0.4, gain=0.2, **TURNS)
    bmn.model.update(hidden=96, proposal_hidden=16, map_hidden=64, map_conv_hidden=32, bins=16)
    bmn.optimizer.update(learning_rate=1e-3, weight_decay=1e-3, warmup_steps=50, schedule="cosine", clip_norm=1.0)
    bmn.ema_decay = 0.99

    tcanet.steps, tcanet.batch_size, tcanet.eval_every_steps = 800, 16, 400
    tcanet.data.update(
        longest_action=128,
        max_snippets=512,
        proposals=48,
        train_proposals=24,
        noise=0.3,
        gain=0.2,
        **TURNS,
    )
    tcanet.model.update(
        hidden=128,
        regressor_hidden=128,
        frame_hidden=64,
        ffn=128,
        context=8,
        inside=16,
        context_inside=0.25,
        encoder_variant="released",
        snippet_head=True,
    )
    tcanet.options.update(jitter=0.1, regression_beta=0.05, proposal_power=0.0, confidence_stages=(0,))
    tcanet.optimizer.update(learning_rate=1e-3, weight_decay=1e-3, warmup_steps=100, schedule="cosine", clip_norm=1.0)
    tcanet.ema_decay = 0.99
    config.checkpoint.every_steps = 200
    supervised.choose_classes(config, variant, pool=2)
    if variant == "classifier":
        classifier = config.stages.classifier
        classifier.steps, classifier.batch_size, classifier.eval_every_steps = 300, 16, 150
        classifier.model.hidden = 96
        classifier.data.update(max_snippets=256, noise=0.4, gain=0.2, **TURNS)
        classifier.optimizer.update(warmup_steps=30, schedule="cosine", clip_norm=1.0)
    return config
