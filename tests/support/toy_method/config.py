"""What differs from the defaults."""

from tal_jax.stages.config import default_config


def get_config():
    config = default_config(points="support.toy_method.task:PointTask")
    config.stages.points.update(steps=150, batch_size=8, eval_every_steps=0)
    config.stages.points.optimizer.learning_rate = 1e-2
    config.log_every_steps = 50
    return config
