"""What all configs of the supervised track share: BMN proposals refined by TCANet, at the published sizes.

Not meant to be trained itself; take configs/supervised_{hacs,activitynet,thumos,geotec,watch}.py.
"""

from ml_collections import ConfigDict


def optimizer(learning_rate: float, weight_decay: float, warmup_steps: int = 0) -> ConfigDict:
    """AdamW with step decay after 7 of 9 epochs."""
    return ConfigDict(
        {
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "warmup_steps": warmup_steps,
            "schedule": "step",  # or cosine, constant
            "decay_at": 0.78,
            "decay_factor": 0.1,
            "clip_norm": 0.0,
        }
    )


def framing(proposals: int = 0) -> ConfigDict:
    """How recordings become snippets; 0 is chosen from the training set."""
    return ConfigDict(
        {
            "mode": "window",  # pad, or cut what is longer; or "resize"
            "snippets": 0,
            "scale": 0.0,  # stored snippets per frame snippet
            "overlap": 0.5,
            "keep": 0.75,
            "longest_action": 64,
            "max_snippets": 512,
            "proposals": proposals,
            "train_proposals": 0,  # drawn from them in training; 0: all
            "min_seconds": 0.0,  # training leaves out segments up to this length
            "stride_jitter": 0.0,
            "rotation": 0.0,  # of three-axis sensors in training, radians: see data.triaxial
            "half_turns": False,
            "gain": 0.0,
            "shift": 0.0,
            "noise": 0.0,
            "around_actions": 0.75,
        }
    )


def get_config() -> ConfigDict:
    """The shared defaults."""
    bmn = {
        "task": "bmn",
        "steps": 20_000,
        "batch_size": 16,
        "eval_every_steps": 5_000,
        "ema_decay": 0.0,
        "accumulate": 0,  # parts of a batch, one after the other, whose gradients are averaged; 0: at once
        "data": framing(),
        "optimizer": optimizer(1e-3, 1e-4),
        "model": {
            "durations": 0,
            "hidden": 256,
            "proposal_hidden": 128,
            "map_hidden": 512,
            "map_conv_hidden": 128,
            "groups": 4,
            "bins": 32,
            "points": 3,
            "masked_cells": True,
            "sampling": "",  # or the published ports' "truncated", "truncated_longer"
            "map_layout": "",  # or "start_end"
            "dtype": "float32",
        },
        "options": {
            "random_negatives": False,
            "regression_weight": 10.0,
            "region": 3.0,
            "overlapping_negatives": False,
            "classification_power": 1.0,
            "candidates": 500,
            "proposals": 100,
            "nms_sigma": 0.4,
            "nms_threshold": (0.5, 0.9),
        },
    }
    tcanet = {
        "task": "tcanet",
        "steps": 20_000,
        "batch_size": 16,
        "eval_every_steps": 5_000,
        "ema_decay": 0.0,
        "accumulate": 0,  # parts of a batch, one after the other, whose gradients are averaged; 0: at once
        "proposals": "",  # a file instead of the bmn stage's
        "class_scores": "",  # a file with video-level class scores
        "data": framing(proposals=100),
        "optimizer": optimizer(4e-4, 1e-5, warmup_steps=1000),
        "model": {
            "snippet_head": False,
            "hidden": 512,
            "groups": 4,
            "encoders": 2,
            "heads": 8,
            "local_heads": 4,
            "window": 9,
            "ffn": 256,
            "dropout": 0.1,
            "stages": 3,
            "tau": 0.5,
            "regressor_hidden": 512,
            "frame_hidden": 128,
            "context": 32,
            "inside": 64,
            "context_inside": 0.0,
            "frame_level": True,
            "segment_level": True,
            "variant": "report",
            "encoder_variant": "",
            "norm_epsilon": 0.0,  # 0: 1e-5
            "attention": "auto",
            "dtype": "float32",
        },
        "options": {
            "thresholds": (0.5, 0.6, 0.7),
            "match_once": False,
            "random_negatives": False,
            "jitter": 0.0,
            "regression_beta": 1.0,
            "ends_weight": 1.0,
            "center_weight": 1.0,
            "confidence_weight": 1.0,
            "class_weight": 1.0,
            "snippet_weight": 1.0,
            "class_target": "iou",
            "class_threshold": 0.5,
            "classes": "head",  # or "video" (class_scores), or "both"
            "video_classes": 3,
            "fuse": "last",
            "proposal_power": 1.0,
            "confidence_stages": (1,),
            "candidates": 400,
            "detections": 200,
            "nms_method": "gaussian",
            "nms_sigma": 0.4,
            "nms_power": 2.5,
            "nms_threshold": 0.0,
        },
    }
    return ConfigDict(
        {
            "seed": 0,
            "mesh": {"model": 1},  # devices that share a row of a batch: BMN's map by duration, TCANet's proposals
            "population": 0,  # trainings in one program, with seeds from `seed` on; 0: one
            "learning_rates": (),  # times the stages' own: each seed is trained with each of them, in the same program
            "track": ("bmn", "tcanet"),
            "data": {
                "dir": "",
                "streams": (),  # all
                "train_split": "training",
                "eval_split": "validation",
                "holdout": 0.0,  # this share of the training recordings instead of eval_split
                "holdout_ids": (),  # or those whose ids match one of these patterns, such as "person1_*"
                "normalize": False,  # by the training set's mean and standard deviation
                "triaxial": (),  # streams of samples x, y, z, .. of one device, to rotate; none: told by gravity
            },
            "stages": {"bmn": bmn, "tcanet": tcanet},
            "checkpoint": {"every_steps": 1000},
            "log_every_steps": 50,
        }
    )


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
    parts = {name: tcanet[name] for name in ("steps", "batch_size", "eval_every_steps", "ema_decay", "accumulate")}
    return ConfigDict(
        {
            "task": "joint",
            **parts,
            "data": tcanet.data,
            "optimizer": tcanet.optimizer,
            "model": {"bmn": bmn.model, "tcanet": tcanet.model, "pool": pool},
            "options": {"bmn": bmn.options, "tcanet": tcanet.options, "bmn_weight": 1.0},
        }
    )


def classifier() -> ConfigDict:
    """The video-level classifier as a stage."""
    return ConfigDict(
        {
            "task": "classifier",
            "steps": 5_000,
            "batch_size": 32,
            "eval_every_steps": 1_000,
            "ema_decay": 0.0,
            "accumulate": 0,  # parts of a batch, one after the other, whose gradients are averaged; 0: at once
            "data": framing(),
            "optimizer": optimizer(1e-3, 1e-3, warmup_steps=200),
            "model": {"hidden": 256, "top": 8, "dropout": 0.5, "dtype": "float32"},
            "options": {},
        }
    )
