"""Weakly-supervised track on HACS: two-stream features, labels only, and the clips of HACS Clips.

python -m launch.prepare --annotations=HACS_segments_v1.1.1.json --features=rgb=RGB --features=flow=FLOW \
    --stride=0.5333333 --damaged=hacs --missing=skip --clips=HACS_clips.json --clip_features=rgb=CLIP_RGB \
    --clip_features=flow=CLIP_FLOW --out=DATA
python -m launch.train --config=configs/weak_hacs.py --workdir=W --config.data.dir=DATA
python -m launch.tune --workdir=W

Variants are the rows of the report's Table 2: `:cas`, `:mdcm`, `:ccm`, `:ktm`, `:full` (the default). Published there
on validation: 15.3, 20.7, 22.6, 25.2, 28.62 average mAP; not measured with this code, the data set is not freely
downloadable. Recordings are resized to 200 snippets.
"""

from ml_collections import ConfigDict

from tal_jax.configs import weak


def get_config(row: str = "full") -> ConfigDict:
    """All recordings resized to 200 snippets, clips padded."""
    config = weak.get_config()
    config.stages.mgfn.data.update(mode="resize", snippets=200)
    config.stages.trimmed.data.update(scale=1.0, max_snippets=64)
    weak.choose_row(config, row)
    return config
