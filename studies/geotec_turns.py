r"""Phone recordings, five of the eighteen training people held out: rotation of training rows, and what changes then.

python -m launch.study --config=studies/geotec_turns.py --data=DATA --workdir=runs/study/geotec_turns \
    --rows=turned_noise_0.3,not_stretched,upright
"""

from tal_jax.experiments.study import Study

HELD_OUT = ("s01_*", "s02_*", "s03_*", "s05_*", "s06_*")
PERSON = r"^s\d+"  # in the ids
BMN, TCANET = "stages.bmn", "stages.tcanet"
NOISE = f"{TCANET}.data.noise"


def both(**data: object) -> dict[str, object]:
    """Of the training rows of both stages."""
    return {f"{stage}.data.{key}": value for stage in (BMN, TCANET) for key, value in data.items()}


UPRIGHT = both(rotation=0.0, half_turns=False)
TURNED = both(rotation=0.4, half_turns=True)
BEFORE = UPRIGHT | both(stride_jitter=0.3) | {f"{TCANET}.steps": 800, NOISE: 1.2}  # the config when rotation was tried


def get_config() -> Study:
    """The config of before, then rotations with less and less noise, then without stretching time, then longer."""
    return Study(
        config="configs/supervised_geotec.py",
        rows={
            "before": BEFORE,
            "rotation_0.4": BEFORE | both(rotation=0.4),
            "rotation_3": BEFORE | both(rotation=3.0),
            "turned_0.2": BEFORE | both(rotation=0.2, half_turns=True),
            "turned_noise_0.6": BEFORE | TURNED | {NOISE: 0.6},
            "turned_noise_0.3": BEFORE | TURNED | {NOISE: 0.3},
            "not_stretched": TURNED | {NOISE: 0.3, f"{TCANET}.steps": 800},
            "steps_1600": TURNED | {NOISE: 0.3, f"{TCANET}.steps": 1600},
            "upright": UPRIGHT | {NOISE: 0.3, f"{TCANET}.steps": 800},
        },
        folds={"five": HELD_OUT},
        groups=PERSON,
    )
