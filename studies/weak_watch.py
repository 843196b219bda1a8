"""What each part of KT-MGFN is worth on the smart-watch sessions: the ladder of Table 2, and every part by itself.

python -m launch.study --config=studies/weak_watch.py --data=DATA --workdir=runs/study/weak_watch

Measured on the validation people; nothing is chosen here.
"""

from tal_jax.configs import weak
from tal_jax.experiments.study import Study

MODEL, OPTIONS = "stages.mgfn.model", "stages.mgfn.options"


def both(**changes: object) -> dict[str, object]:
    """Of the models of both stages: knowledge goes from branch to branch."""
    return {f"stages.{stage}.model.{key}": value for stage in ("mgfn", "trimmed") for key, value in changes.items()}


def get_config() -> Study:
    """The full row first, then what differs from it."""
    shared = weak.get_config().stages.mgfn.options.decoding
    return Study(
        config="configs/weak_watch.py",
        rows={
            "full": {"variant": "full"},
            "cas": {"variant": "cas"},
            "mdcm": {"variant": "mdcm"},
            "ccm": {"variant": "ccm"},
            "ktm": {"variant": "ktm"},
            "no_clips": {f"{OPTIONS}.mmd_weight": 0.0, "stages.mgfn.splice": 0.0},
            "no_mmd": {f"{OPTIONS}.mmd_weight": 0.0},
            "mmd_0.1": {f"{OPTIONS}.mmd_weight": 0.1},
            "mmd_1": {f"{OPTIONS}.mmd_weight": 1.0},
            "no_splicing": {"stages.mgfn.splice": 0.0},
            "no_erasing": both(cascade=False),
            "erase_0.3": both(erase_threshold=0.3),
            "erase_0.7": both(erase_threshold=0.7),
            "dilation_1": both(dilations=(1,)),
            "dilations_1_2": both(dilations=(1, 2)),
            "dilations_1_2_4_8": both(dilations=(1, 2, 4, 8)),
            "gamma_0.1": {f"{OPTIONS}.inflation": 0.1, f"{OPTIONS}.decoding.inflation": 0.1},
            "gamma_0.5": {f"{OPTIONS}.inflation": 0.5, f"{OPTIONS}.decoding.inflation": 0.5},
            "regressed": {f"{OPTIONS}.segments": "regressed"},
            "thresholded": {f"{OPTIONS}.segments": "thresholded"},
            "gap_pooling": {f"{MODEL}.pooling": "gap"},
            "default_decoding": {f"{OPTIONS}.decoding.{key}": value for key, value in shared.items()},
            "not_smoothed": {f"{OPTIONS}.decoding.smoothing": 0.0},
        },
    )
