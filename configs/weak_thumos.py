"""Weakly-supervised track on THUMOS14: whole videos resized to 750 snippets, top-k pooling, labels only.

python -m launch.prepare --annotations=thumos14.json --features=rgb=RGB --features=flow=FLOW --stride=0.5333333 \
    --out=DATA
python -m launch.train --config=configs/weak_thumos.py:ccm --workdir=W --config.data.dir=DATA
python -m launch.tune --workdir=W

Variants are the rows of the report's Table 2; `:ktm` and `:full` (the default) need trimmed clips in the prepared set
(`--clips=C.json --clip_features=rgb=CLIP_RGB ..`), for instance of UCF101. THUMOS14 trains on its `validation` subset.
Its videos are mostly background, so pooling takes the highest eighth of the snippets. Not measured with this code.
"""

from ml_collections import ConfigDict

from tal_jax.configs import weak


def get_config(row: str = "full") -> ConfigDict:
    """Videos resized to 750 snippets."""
    config = weak.get_config()
    config.data.update(train_split="validation", eval_split="testing")
    config.stages.mgfn.data.update(mode="resize", snippets=750)
    config.stages.trimmed.data.update(scale=1.0, max_snippets=256)
    for stage in (config.stages.mgfn, config.stages.trimmed):
        stage.model.pooling = "topk"
        stage.batch_size = 16
        stage.steps = 3_000
    weak.choose_row(config, row)
    return config
