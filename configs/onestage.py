"""What all configs of the one-stage track share: ActionFormer at the published sizes, trained by AdamW and averaged.

Not meant to be trained itself; take configs/onestage_{thumos,activitynet,hacs,epic}.py for the published sets, and
configs/onestage_geotec.py for sets of your own. What is not said here has its default: `python -m launch.train
--config=configs/onestage_thumos.py --print_config` shows everything.
"""

from ml_collections import ConfigDict

from tal_jax.stages.config import default_config

NAME = "actionformer"


def get_config() -> ConfigDict:
    """What differs from the defaults of the sections, the models and the tasks."""
    config = default_config(**{NAME: NAME})
    stage = config.stages[NAME]
    stage.ema_decay = 0.999
    stage.data.update(scale=1.0, keep=0.5)  # levels stand for the lengths of actions: nothing is squeezed
    stage.optimizer.update(learning_rate=1e-4, weight_decay=0.05, schedule="cosine", clip_norm=1.0)
    return config


def epochs(config: ConfigDict, videos: int, batch: int, warmup: int, count: int) -> None:
    """Steps for `warmup` + `count` epochs of so many videos; measured after every fifth of them."""
    stage = config.stages[NAME]
    each = max(videos // batch, 1)
    stage.batch_size, stage.steps = batch, each * (warmup + count)
    stage.optimizer.warmup_steps, stage.eval_every_steps = each * warmup, max(stage.steps // 5, 1)


def choose(config: ConfigDict, variant: str, *others: str) -> None:
    """Applies a variant that all configs of published sets have, in place.

    clean: padding changes no result. released: the numerics of the released code, those that its checkpoints are read
    with (`convert.families`); the frame is the length that it pads to.
    """
    if variant == "released":
        stage = config.stages[NAME]
        stage.model.released = stage.data.snippets
    elif variant not in ("clean", *others):
        raise ValueError(f"variant is {', '.join(('clean', 'released', *others))}, not {variant!r}")


def video_classes(config: ConfigDict, best: int) -> None:
    """Class-agnostic segments, each with the best classes of its recording, from --config.stages.NAME.class_scores."""
    config.stages[NAME].options.update(classes="video", video_classes=best)
    config.stages[NAME].options.decoding.class_agnostic = True
