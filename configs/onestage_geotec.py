"""One-stage track on small sets of any kind; lengths, widths, classes and strides come from the data.

python -m launch.prepare --annotations=annotations.json --features=imu=features --stride=0.1 --out=DATA
python -m launch.train --config=configs/onestage_geotec.py --workdir=W --config.data.dir=DATA
"""

from ml_collections import ConfigDict

from tal_jax.configs import onestage


def get_config() -> ConfigDict:
    """Small models: hundreds of recordings, one CPU."""
    config = onestage.get_config()
    config.data.normalize = True
    stage = config.stages.actionformer
    stage.steps, stage.batch_size, stage.eval_every_steps = 800, 16, 400
    stage.data.update(max_snippets=512, noise=0.4, gain=0.2, rotation=0.4, half_turns=True)
    stage.model.update(hidden=128, ffn=512)
    stage.optimizer.update(learning_rate=1e-3, warmup_steps=100)
    stage.ema_decay = 0.99
    config.checkpoint.every_steps = 200
    return config
