"""One-stage track on EPIC-Kitchens-100: SlowFast (2304 channels, a snippet every 16 of 30 frames, clips of 32).

python -m launch.prepare --annotations=epic_verbs.json --features=slowfast=FEATURES --stride=0.5333333 --out=DATA
python -m launch.train --config=configs/onestage_epic.py --workdir=W --config.data.dir=DATA    # or :noun

Settings are the published ones of ActionFormer (495 videos, 5 + 16 epochs), verbs (97) and nouns (300) each by
themselves. Published average mAP at 0.1:0.1:0.5, not measured with this code: 23.51 and 21.88. `:released` is for its
checkpoints of verbs.
"""

from ml_collections import ConfigDict

from tal_jax.configs import onestage

RANGES = ((0.0, 4.0), (2.0, 8.0), (4.0, 16.0), (8.0, 32.0), (16.0, 64.0), (32.0, 10_000.0))


def get_config(variant: str = "clean") -> ConfigDict:
    """A frame of 2304 snippets; ranges of neighbouring levels overlap."""
    config = onestage.get_config()
    stage = config.stages.actionformer
    stage.data.update(snippets=2304, keep=0.3)
    stage.model.windows = (9,)
    stage.options.update(offset=1.0, normalizer=250.0, ranges=RANGES, smoothing=0.1 if variant == "noun" else 0.0)
    stage.options.decoding.update(candidates=5000, detections=2000, sigma=0.4)
    onestage.epochs(config, 495, 2, 5, 16)
    onestage.choose(config, variant, "noun")
    return config
