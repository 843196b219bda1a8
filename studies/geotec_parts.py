"""Phone recordings, five of the eighteen training people held out: parts of the config, and what could be added.

python -m launch.study --config=studies/geotec_parts.py --data=DATA --workdir=runs/study/geotec_parts
"""

from tal_jax.experiments.study import Study
from tal_jax.studies.geotec_turns import HELD_OUT, NOISE, PERSON, TCANET

DATA, MODEL, OPTIONS = f"{TCANET}.data", f"{TCANET}.model", f"{TCANET}.options"


def get_config() -> Study:
    """The config, then without one part each, then with other amounts and with more."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={
            "config": {},
            "joint": {"variant": "joint"},
            "frame_level": {f"{MODEL}.segment_level": False},
            "segment_level": {f"{MODEL}.frame_level": False},
            "stages_1": {f"{MODEL}.stages": 1, f"{OPTIONS}.thresholds": (0.5,)},
            "no_lgte": {f"{MODEL}.encoders": 0},
            "local_only": {f"{MODEL}.local_heads": 8},
            "window_3": {f"{MODEL}.window": 3},
            "window_33": {f"{MODEL}.window": 33},
            "not_normalized": {"data.normalize": False},
            "no_jitter": {f"{OPTIONS}.jitter": 0.0},
            "no_ema": {f"{TCANET}.ema_decay": 0.0},
            "no_noise": {NOISE: 0.0},
            "beta_1": {f"{OPTIONS}.regression_beta": 1.0},
            "shift_0.3": {f"{DATA}.shift": 0.3},
            "steps_1600": {f"{TCANET}.steps": 1600},
        },
        folds={"five": HELD_OUT},
        groups=PERSON,
    )
