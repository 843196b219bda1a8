"""Supervised track on HACS Segments: SlowFast-101 features (2304 channels, one snippet every 8/15 s).

python -m launch.prepare --annotations=HACS_segments_v1.1.1.json --features=slowfast=FEATURES --stride=0.5333333 \
    --damaged=hacs --missing=skip --out=DATA
python -m launch.train --config=configs/supervised_hacs.py --workdir=W --config.data.dir=DATA \
    --config.stages.tcanet.class_scores=SCORES.json

Sizes and schedules are the released ones (TCANet: 9 epochs of 16 videos; BMN: T = 200 resized). Expected: published
average mAP 35.8 for BMN and 39.91 (test) for TCANet in the report; not measured with this code, the data set is not
freely downloadable. Variants: `:video` (classes from a score file), `:head` (classes from
TCANet's own head, the default), `:classifier` (a video-level classifier of its own), `:released` (the released code's
numerics) and `:joint` (BMN and TCANet as one stage).

`:released` computes what the released TCANet computes from the same parameters, and its losses. What differs from it:
the learning rate warms up linearly from 0 (there along a cosine); weight decay spares biases and norms; training sees a
random 64 of a recording's 100 proposals (there the first 64); a recording that loses all of its segments to the rule of
1 s stays, as background (there it is dropped); detections are cut to the recording when they are written. Here soft-NMS
runs class by class, there on the 100 proposals before the classes multiply their scores: for up to 100 proposals, as
here, the same. BMN's layer samples as its paper defines it; the ports' truncation is a field of the model (`sampling`).
"""

from ml_collections import ConfigDict

from tal_jax.configs import supervised

STEPS_PER_EPOCH = 37_613 // 16


def get_config(variant: str = "head") -> ConfigDict:
    """BMN resized to 200, TCANet on up to 1000 padded snippets."""
    config = supervised.get_config()
    bmn, tcanet = config.stages.bmn, config.stages.tcanet
    bmn.data.update(mode="resize", snippets=200)
    bmn.model.durations = 200
    bmn.steps = 9 * STEPS_PER_EPOCH
    bmn.optimizer.learning_rate = 4e-4
    bmn.options.classification_power = 1.2
    # Training sees 64 of a recording's 100 proposals, as released (there the first 64, here a random 64).
    tcanet.data.update(snippets=1000, scale=1.0, proposals=100, train_proposals=64, min_seconds=1.0)
    tcanet.steps = 9 * STEPS_PER_EPOCH
    supervised.choose_classes(config, variant, pool=5)
    return config
