"""One-stage track on ActivityNet 1.3: TSP features (512 channels, clips of 16 at 15 images a second) resized to 192.

python -m launch.prepare --annotations=activity_net.json --features=tsp=FEATURES --stride=1.0666667 --out=DATA
python -m launch.train --config=configs/onestage_activitynet.py --workdir=W --config.data.dir=DATA \
    --config.stages.actionformer.class_scores=SCORES.json

Settings are the published ones of ActionFormer (9,987 videos, 5 + 10 epochs); segments are class-agnostic, and a
classifier of whole videos gives the classes. Published average mAP at 0.5:0.05:0.95, not measured with this code: 36.56
with TSP, 36.03 with I3D. `:released`: for its checkpoints, `launch.convert --family=actionformer`.
"""

from ml_collections import ConfigDict

from tal_jax.configs import onestage


def get_config(variant: str = "clean") -> ConfigDict:
    """A frame of 192 snippets; the last level's attention is global."""
    config = onestage.get_config()
    stage = config.stages.actionformer
    stage.data.update(mode="resize", snippets=192)
    stage.model.update(hidden=256, ffn=1024, windows=(7, 7, 7, 7, 7, 1), position=True)
    stage.options.update(normalizer=200.0, smoothing=0.1, regression_weight=2.0)
    stage.options.decoding.update(detections=100, sigma=0.75, voting=0.9, least_length=0.001)
    stage.optimizer.learning_rate = 1e-3
    onestage.epochs(config, 9_987, 16, 5, 10)
    onestage.video_classes(config, 2)
    onestage.choose(config, variant)
    return config
