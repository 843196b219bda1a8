"""What each part of BMN + TCANet is worth on the smart-watch sessions.

python -m launch.study --config=studies/supervised_watch.py --data=DATA --workdir=runs/study/supervised_watch

Measured on the validation people; nothing is chosen here.
"""

from tal_jax.experiments.study import Study

MODEL, OPTIONS, DATA = "stages.tcanet.model", "stages.tcanet.options", "stages.tcanet.data"


def get_config() -> Study:
    """The demo's config first, then what differs from it."""
    return Study(
        config="configs/supervised_watch.py",
        rows={
            "full": {},
            "bmn": {"track": ("bmn",)},
            "bmn_segments": {f"{OPTIONS}.fuse": "none"},
            "stages_1": {f"{MODEL}.stages": 1, f"{OPTIONS}.thresholds": (0.5,)},
            "stages_2": {f"{MODEL}.stages": 2, f"{OPTIONS}.thresholds": (0.5, 0.6)},
            "no_lgte": {f"{MODEL}.encoders": 0},
            "local_only": {f"{MODEL}.local_heads": 8},
            "global_only": {f"{MODEL}.local_heads": 0},
            "window_3": {f"{MODEL}.window": 3},
            "window_33": {f"{MODEL}.window": 33},
            "frame_level": {f"{MODEL}.segment_level": False},
            "segment_level": {f"{MODEL}.frame_level": False},
            "released": {f"{MODEL}.variant": "released"},
            "proposals_8": {f"{DATA}.proposals": 8, f"{DATA}.train_proposals": 8},
            "proposals_100": {f"{DATA}.proposals": 100},
            "video_classes": {"variant": "classifier"},
            "no_snippet_loss": {f"{MODEL}.snippet_head": False},
            "joint": {"variant": "joint"},
            "no_jitter": {f"{OPTIONS}.jitter": 0.0},
        },
    )
