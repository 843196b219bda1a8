"""What all configs of the one-stage track share: ActionFormer at the published sizes, trained by AdamW and averaged.

Not meant to be trained itself; take configs/onestage_geotec.py for sets of your own.
"""

from ml_collections import ConfigDict

from tal_jax.stages.config import default_config


def get_config() -> ConfigDict:
    """What differs from the defaults of the sections, the models and the tasks."""
    config = default_config(actionformer="actionformer")
    stage = config.stages.actionformer
    stage.ema_decay = 0.999
    stage.data.scale = 1.0  # levels stand for the lengths of actions: nothing is squeezed
    stage.optimizer.update(learning_rate=1e-4, weight_decay=0.05, schedule="cosine", clip_norm=1.0)
    return config
