"""A tiny set of sensor recordings on disk: two actions that show in the signal, prepared by the real command."""

import json
from pathlib import Path

import numpy as np

from tal_jax.configs import supervised_geotec
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare

STRIDE = 0.5


def write_files(folder: Path, *, training=8, validation=4, length=24, channels=3, seed=0):
    """Features [T, channels] with a step in channel 0 or 1 where an action is; annotations.json, which is returned."""
    rng = np.random.default_rng(seed)
    (folder / "features").mkdir(parents=True)
    database = {}
    for i in range(training + validation):
        subset = "training" if i < training else "validation"
        t = length + int(rng.integers(0, 5))
        x = rng.normal(0, 0.1, (t, channels)).astype(np.float32)
        annotations, at = [], 2
        while at + 6 < t:
            n, label = int(rng.integers(3, 6)), int(rng.integers(2))
            x[at : at + n, label] += 1
            annotations.append({"segment": [at * STRIDE, (at + n) * STRIDE], "label": f"action_{label}"})
            at += n + int(rng.integers(2, 5))
        np.save(folder / "features" / f"r{i:02d}.npy", x)
        database[f"r{i:02d}"] = {"subset": subset, "duration": t * STRIDE, "annotations": annotations}
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    return database


def prepare_set(folder: Path, **options):
    """Writes the files and packs them into FOLDER/data."""
    database = write_files(folder, **options)
    prepare(
        Options(
            annotations=str(folder / "annotations.json"),
            features={"imu": str(folder / "features")},
            stride=str(STRIDE),
            out=str(folder / "data"),
            dtype="float32",
            workers=1,
        )
    )
    return database


def tiny_config(data: Path, *, refinements=2, encoders=0):
    """The sensor config with the smallest models that still learn; two short stages.

    Each of TCANet's refinements takes as long to compile as all of BMN: one is enough where it is only carried along,
    and there it needs neither its encoder nor the head that classifies what the encoder makes.
    """
    config = supervised_geotec.get_config()
    config.data.dir = str(data)
    config.log_every_steps = 1
    config.checkpoint.every_steps = 2
    for stage in (config.stages.bmn, config.stages.tcanet):
        stage.batch_size, stage.steps, stage.eval_every_steps = 4, 4, 0
        stage.optimizer.warmup_steps = 0
    config.stages.bmn.model.update(hidden=8, proposal_hidden=4, map_hidden=8, map_conv_hidden=4, bins=4, groups=1)
    config.stages.bmn.options.update(candidates=40, proposals=10)
    config.stages.tcanet.data.update(proposals=10, train_proposals=8)
    config.stages.tcanet.model.update(
        hidden=8, ffn=8, heads=2, local_heads=1, window=3, encoders=encoders, stages=refinements, groups=1,
        regressor_hidden=8, frame_hidden=4, context=4, inside=8, snippet_head=encoders > 0,
    )  # fmt: skip
    config.stages.tcanet.options.update(
        thresholds=(0.5, 0.6)[:refinements], confidence_stages=(refinements - 1,), candidates=20, detections=10
    )
    return config
