"""One-stage track on THUMOS14: two-stream I3D features (2048 channels, one snippet every 4 frames, clips of 16).

python -m launch.prepare --annotations=thumos14.json --features=i3d=FEATURES --stride=0.1333333 --out=DATA
python -m launch.train --config=configs/onestage_thumos.py --workdir=W --config.data.dir=DATA

Settings are the published ones of ActionFormer (200 videos, 5 + 30 epochs), `:tridet` those of TriDet (20 + 20),
`:temporalmaxer` those of TemporalMaxer (5 + 60). Published average mAP at 0.3:0.1:0.7, not measured with this code:
66.83, 69.27 and 67.7. `:released`: for ActionFormer's checkpoints, `launch.convert --family=actionformer`. What differs
from the released training: the learning rate of the first step is not 0, and it ends at 0, not at 1e-8; windows are
drawn around an action three times of four; shorter videos are not cropped by a tenth.
"""

from ml_collections import ConfigDict

from tal_jax.configs import onestage


def get_config(variant: str = "clean") -> ConfigDict:
    """A frame of 2304 snippets; THUMOS14 trains on its `validation` subset and is evaluated on `test`."""
    config = onestage.get_config()
    config.data.update(train_split="validation", eval_split="testing")
    stage = config.stages.actionformer
    stage.data.snippets = 2304
    stage.options.offset = 2.0  # the centre of a clip of 16 frames, in snippets of 4
    onestage.epochs(config, 200, 2, 5, 30)
    if variant == "tridet":
        stage.model.update(backbone="granularity", windows=(1,), kernel=1, kernel_factor=5.0, ffn=768, bins=16)
        stage.options.update(iou_power=0.2)
        stage.options.decoding.detections = 2000
        stage.optimizer.weight_decay = 0.025
        stage.data.noise = 0.0005
        onestage.epochs(config, 200, 2, 20, 20)
    elif variant == "temporalmaxer":
        stage.model.update(backbone="pool", stem_blocks=0, neck="group")
        onestage.epochs(config, 200, 2, 5, 60)
    onestage.choose(config, variant, "tridet", "temporalmaxer")
    return config
