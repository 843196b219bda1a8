"""One-stage track on HACS Segments: SlowFast-101 features (2304 channels, one snippet every 8/15 s, clips of 32).

python -m launch.prepare --annotations=HACS_segments_v1.1.1.json --features=slowfast=FEATURES --stride=0.5333333 \
    --damaged=hacs --missing=skip --out=DATA
python -m launch.train --config=configs/onestage_hacs.py --workdir=W --config.data.dir=DATA \
    --config.stages.actionformer.class_scores=SCORES.json

Settings are those of ActionFormer in OpenTAD (class-agnostic, 5 + 10 epochs, classes of TCANet's score file), `:tridet`
the published ones of TriDet (200 classes of its own, 7 + 4 epochs). Published average mAP at 0.5:0.05:0.95 with these
features, not measured with this code: 37.7 and 38.6; BMN 35.8. The learning rate ends at 0 (TriDet's at 5e-4).
"""

from ml_collections import ConfigDict

from tal_jax.configs import onestage

VIDEOS = 37_613


def get_config(variant: str = "clean") -> ConfigDict:
    """A frame of 960 snippets."""
    config = onestage.get_config()
    stage = config.stages.actionformer
    stage.data.snippets = 960
    stage.options.update(offset=2.0, normalizer=400.0, smoothing=0.1)
    stage.optimizer.update(learning_rate=1e-3, weight_decay=0.03)
    if variant == "tridet":
        stage.model.update(
            hidden=1024, backbone="granularity", kernel=3, kernel_factor=1.2, ffn=1024, head_taps=5, bins=14,
            boundary_taps=1, position=True, windows=(1,),
        )  # fmt: skip
        stage.options.iou_power = 1.0
        stage.options.decoding.update(detections=250, sigma=0.75)
        stage.optimizer.clip_norm = 0.5
        stage.data.noise = 0.2
        onestage.epochs(config, VIDEOS, 16, 7, 4)
    else:
        stage.model.update(hidden=256, ffn=1024, windows=(13, 13, 13, 13, 13, 1))
        stage.options.decoding.update(detections=100, sigma=0.75)
        onestage.epochs(config, VIDEOS, 16, 5, 10)
        onestage.video_classes(config, 3)
    onestage.choose(config, variant, "tridet")
    return config
