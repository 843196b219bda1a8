"""What all configs of the supervised track share: BMN proposals refined by TCANet, at the published sizes.

Not meant to be trained itself; take configs/supervised_{hacs,activitynet,thumos,geotec,watch}.py. What is not said here
has its default: `python -m launch.train --config=configs/supervised_hacs.py --print_config` shows everything.
"""

from ml_collections import ConfigDict

from tal_jax.stages.config import default_config, default_stage


def get_config() -> ConfigDict:
    """What differs from the defaults of the sections, the models and the tasks."""
    config = default_config(bmn="bmn", tcanet="tcanet")
    bmn, tcanet = config.stages.bmn, config.stages.tcanet
    bmn.optimizer.update(learning_rate=1e-3, weight_decay=1e-4)
    tcanet.data.proposals = 100
    tcanet.optimizer.warmup_steps = 1000
    return config


def choose_classes(config: ConfigDict, variant: str, pool: int = 1) -> None:
    """Applies a variant in place: where the classes come from, the released code's numerics, or joint training.

    head: the segment-level head on TCANet, trained jointly; for recordings with several classes.
    video: video-level scores, from --config.stages.tcanet.class_scores=FILE.
    classifier: video-level scores of a classifier stage, trained on the same features.
    released: `video` with the settings of the released TCANet, those that its checkpoints are read with
      (`convert.families`); what still differs from it is listed in configs/supervised_hacs.py.
    joint: one stage with both losses; BMN sees TCANet's encoded features, `pool` snippets at a time.
    """
    options = config.stages.tcanet.options
    if variant == "classifier":
        config.track = ("bmn", "classifier", "tcanet")
        config.stages.classifier = classifier()
    if variant == "released":
        config.stages.tcanet.model.variant = "released"
        options.update(match_once=True, random_negatives=True)
        config.stages.bmn.options.random_negatives = True
        config.stages.bmn.model.masked_cells = False
    if variant in ("video", "classifier", "released"):
        options.update(classes="video", class_weight=0.0)
    elif variant == "joint":
        config.track, config.stages = ("joint",), ConfigDict({"joint": joint(config.stages, pool)})
    elif variant != "head":
        raise ValueError(f"variant is head, video, classifier, released or joint, not {variant!r}")


def joint(stages: ConfigDict, pool: int) -> ConfigDict:
    """Both stages in one: schedule and frames are those of TCANet, which gets as many proposals as in training."""
    bmn, tcanet = stages.bmn.copy_and_resolve_references(), stages.tcanet.copy_and_resolve_references()
    bmn.options.proposals = tcanet.data.train_proposals or tcanet.data.proposals
    tcanet.data.update(proposals=0, train_proposals=0)
    stage = default_stage("joint")
    for name in ("steps", "batch_size", "eval_every_steps", "ema_decay", "accumulate", "data", "optimizer"):
        stage[name] = tcanet[name]
    stage.model.update(bmn=bmn.model, tcanet=tcanet.model, pool=pool)
    stage.options.update(bmn=bmn.options, tcanet=tcanet.options)
    return stage


def classifier() -> ConfigDict:
    """The video-level classifier as a stage."""
    stage = default_stage("classifier")
    stage.steps, stage.batch_size, stage.eval_every_steps = 5_000, 32, 1_000
    stage.optimizer.update(learning_rate=1e-3, weight_decay=1e-3, warmup_steps=200)
    return stage
