"""The weakly-supervised demo: the smart-watch sessions with labels only, and the clips of three other people.

python -m launch.watch --out=runs/demo-weak/sessions
python -m launch.prepare --annotations=runs/demo-weak/sessions/annotations.json \
    --features=imu=runs/demo-weak/sessions/features --stride=0.2 --clips=runs/demo-weak/sessions/clips.json \
    --clip_features=imu=runs/demo-weak/sessions/clips --out=runs/demo-weak/data
python -m launch.train --config=configs/weak_watch.py:full --workdir=runs/demo-weak/full \
    --config.data.dir=runs/demo-weak/data
"""

from ml_collections import ConfigDict

from tal_jax.configs import weak


def get_config(row: str = "full") -> ConfigDict:
    """Small models and top-k pooling, as an action fills a good part of a session.

    Anchors of 3 to 18 s: the clips, parts of actions, last 6 to 10 s.
    """
    config = weak.get_config()
    config.log_every_steps = 25
    mgfn, trimmed = config.stages.mgfn, config.stages.trimmed
    for stage in (mgfn, trimmed):
        stage.model.update(hidden=128, branch_hidden=32, pooling="topk", topk_ratio=4)
        stage.data.update(scale=1.0, noise=0.2, shift=0.3)
        stage.optimizer.update(learning_rate=1e-3, warmup_steps=10, schedule="cosine", clip_norm=5.0)
        stage.batch_size, stage.steps, stage.eval_every_steps = 16, 200, 0
    mgfn.model.regressor_hidden = 64
    mgfn.model.anchors = (16.0, 23.0, 32.0, 45.0, 64.0, 90.0)
    mgfn.options.update(oic_weight=1.0, mmd_weight=0.02)
    mgfn.splice = 0.5
    mgfn.options.segments = "both"
    mgfn.options.decoding.update(smoothing=1.5, nms_sigma=0.5, sharpness=1.25, regressed_weight=0.7)
    trimmed.model.pooling = "gap"  # a clip is all action
    trimmed.batch_size = 32
    weak.choose_row(config, row)
    return config
