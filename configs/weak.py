"""What all configs of the weakly-supervised track share: KT-MGFN, row by row of the report's Table 2.

Not meant to be trained itself; take configs/weak_{hacs,activitynet,thumos,watch}.py.
"""

import copy

from ml_collections import ConfigDict

from tal_jax.configs.supervised import framing, optimizer

ROWS = ("cas", "mdcm", "ccm", "ktm", "full")


def get_config() -> ConfigDict:
    """The shared defaults: the row `full`."""
    model = {
        "hidden": 512,
        "branch_hidden": 128,
        "dilations": (1, 2, 3, 5),  # 1, then the n_d dilated branches
        "pooling": "gap",  # or "topk"
        "top": 8,  # topk: the highest 1 / top of the snippets
        "dropout": 0.5,
        "cascade": True,
        "erase_threshold": 0.5,
        "activation": "sigmoid",  # or "linear"
        "dtype": "float32",
    }
    decoding = {
        "smoothing": 0.0,  # seconds
        "class_threshold": 0.2,
        "lowest": 0.1,
        "highest": 0.9,
        "inflation": 0.25,
        "class_weight": 0.25,
        "nms_sigma": 0.3,
        "sharpness": 1.0,
        "regressed_weight": 1.0,  # counts for segments="both" alone
    }
    options = {
        "decoding": decoding,
        "mmd_weight": 0.1,
        "oic_weight": 0.1,
        "ramp_start": 0.2,
        "ramp_end": 0.5,
        "sharpen": False,
        "inflation": 0.25,
        "min_activation": 0.1,
        "max_contrast": 0.7,
        "segments": "auto",
        "thresholds": 9,
        "candidates": 200,
        "detections": 100,
        "nms_method": "gaussian",
    }
    stage = {
        "steps": 10_000,
        "batch_size": 32,
        "eval_every_steps": 1_000,
        "ema_decay": 0.0,
        "accumulate": 0,  # parts of a batch, one after the other, whose gradients are averaged; 0: at once
        "fusion": "early",  # streams concatenated; or "late": a cascade for each, sequences averaged
        "data": framing(),
        "optimizer": optimizer(1e-4, 1e-3, warmup_steps=500),
    }
    trimmed = {"task": "trimmed", "regressor": False, "model": model, "options": options, **stage, "steps": 5_000}
    mgfn = {
        "task": "mgfn",
        "trimmed": "",  # the knowledge of a trimmed stage elsewhere: its knowledge.parquet
        "splice": 0.0,  # share of training recordings that clips are spliced into; not in the report
        "regressor": True,
        "model": {
            **model,
            "anchors": (),  # (): powers of two from 2 snippets to half the frame
            "regressor_hidden": 128,
        },
        "options": options,
        **stage,
    }
    return ConfigDict(
        {
            "seed": 0,
            "mesh": {"model": 1},  # devices that share a row of a batch: BMN's map by duration, TCANet's proposals
            "population": 0,  # trainings in one program, with seeds from `seed` on; 0: one
            "learning_rates": (),  # times the stages' own: each seed is trained with each of them, in the same program
            "track": ("trimmed", "mgfn"),
            "data": {
                "dir": "",
                "streams": (),  # all
                "train_split": "training",
                "eval_split": "validation",
                "holdout": 0.1,  # this share of recordings and clips is left to launch.tune
                "holdout_ids": (),  # recordings whose ids match one of these patterns instead of the share
                "normalize": False,
                "triaxial": (),
            },
            "stages": {"trimmed": copy.deepcopy(trimmed), "mgfn": copy.deepcopy(mgfn)},  # nothing shared
            "checkpoint": {"every_steps": 1000},
            "log_every_steps": 50,
        }
    )


def choose_row(config: ConfigDict, row: str) -> None:
    """Switches off, in place, what the row of the ladder does not have yet.

    cas: one branch, one stage. mdcm: + dilated branches. ccm: + the second stage on erased features. ktm: + knowledge
    of the trimmed branch, and spliced clips where the config has them. full: + boundary regression.
    """
    if row not in ROWS:
        raise ValueError(f"variant is one of {', '.join(ROWS)}, not {row!r}")
    has = set(ROWS[: ROWS.index(row) + 1])
    mgfn, trimmed = config.stages.mgfn, config.stages.trimmed
    for stage in (mgfn, trimmed):
        if "mdcm" not in has:
            stage.model.dilations = (1,)
        stage.model.cascade = "ccm" in has
    if "ktm" not in has:
        config.track = ("mgfn",)
        mgfn.options.mmd_weight = 0.0
        mgfn.splice = 0.0
    if "full" not in has:
        mgfn.regressor = False
        mgfn.options.segments = "auto"
        mgfn.options.oic_weight = 0.0
