"""A tiny set of recordings and trimmed clips: three actions that show in the signal, in two streams."""

import json
from pathlib import Path

import numpy as np

from tal_jax.configs import weak_watch
from tal_jax.data.dataset import Metadata
from tal_jax.data.record import Record
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare

STRIDE = 0.5
ACTIONS = 3
WIDTHS = {"imu": 4, "audio": 2}  # channel k of imu steps where action k is


def write_recordings(folder: Path, *, recordings=16, length=40, labels=None, seed=0):
    """Recordings of one action each (or of the given `labels`), one in four for validation; every snippet is unique."""
    rng = np.random.default_rng(seed)
    for stream in WIDTHS:
        (folder / stream).mkdir(parents=True, exist_ok=True)
    database = {}
    for i in range(recordings):
        t = length + int(rng.integers(0, 6))
        x = {stream: rng.normal(0, 0.2, (t, width)).astype(np.float32) for stream, width in WIDTHS.items()}
        annotations, at = [], int(rng.integers(2, 6))
        for label in labels or [i % ACTIONS] * 2:
            n = int(rng.integers(6, 10))
            x["imu"][at : at + n, label] += 1
            annotations.append({"segment": [at * STRIDE, (at + n) * STRIDE], "label": f"action_{label}"})
            at += n + int(rng.integers(3, 6))
        for stream in WIDTHS:
            np.save(folder / stream / f"r{i:02d}.npy", x[stream])
        subset = "validation" if i % 4 == 3 else "training"
        database[f"r{i:02d}"] = {"subset": subset, "duration": t * STRIDE, "annotations": annotations}
    (folder / "annotations.json").write_text(json.dumps({"database": database}))


def write_clips(folder: Path, *, clips=18, seed=1):
    """Clips of 5 to 9 snippets; the last one has two labels."""
    rng = np.random.default_rng(seed)
    for stream in WIDTHS:
        (folder / f"{stream}_clips").mkdir(parents=True, exist_ok=True)
    database = {}
    for i in range(clips):
        n, label = int(rng.integers(5, 10)), (i // 2) % ACTIONS
        names = [label] if i < clips - 1 else [label, (label + 1) % ACTIONS]
        for stream, width in WIDTHS.items():
            x = rng.normal(0, 0.2, (n, width)).astype(np.float32)
            if stream == "imu":
                x[:, names] += 1
            np.save(folder / f"{stream}_clips" / f"c{i:02d}.npy", x)
        annotations = [{"label": f"action_{k}"} for k in names]
        database[f"c{i:02d}"] = {"subset": "training", "duration": n * STRIDE, "annotations": annotations}
    (folder / "clips.json").write_text(json.dumps({"database": database}))


def prepare_clip_set(folder: Path, *, clips=True, dtype="float32", **options):
    """Writes the files and packs them into FOLDER/data."""
    write_recordings(folder, **options)
    extra = {}
    if clips:
        write_clips(folder)
        extra = {"clips": str(folder / "clips.json"), "clip_features": {s: str(folder / f"{s}_clips") for s in WIDTHS}}
    prepare(
        Options(
            annotations=str(folder / "annotations.json"), features={s: str(folder / s) for s in WIDTHS},
            stride=str(STRIDE), out=str(folder / "data"), dtype=dtype, workers=1, **extra,
        )
    )  # fmt: skip


def tiny_weak_config(data, row="cas"):
    """The weak demo's config with the smallest models that still learn; every other recording is held out."""
    config = weak_watch.get_config(row)
    config.data.dir, config.data.holdout = str(data), 0.5
    config.log_every_steps, config.checkpoint.every_steps = 20, 1000
    for stage in (config.stages.trimmed, config.stages.mgfn):
        stage.model.update(hidden=8, branch_hidden=8, dropout=0.0, dilations=tuple(stage.model.dilations)[:2])
        stage.data.update(scale=1.0, noise=0.0)
        stage.optimizer.update(learning_rate=2e-2, warmup_steps=0)
        stage.batch_size, stage.steps = 4, 30
        stage.options.thresholds, stage.options.candidates, stage.options.detections = 5, 40, 20
    config.stages.mgfn.options.decoding.update(smoothing=0.0, nms_sigma=0.3, sharpness=1.0, regressed_weight=1.0)
    return config


class Memory:
    """A split in memory, of recordings (stride, features [T, C] of the stream x, labels)."""

    directory, split = "memory", "training"

    def __init__(self, recordings, classes=()):
        self.ids = np.array([f"m{i}" for i in range(len(recordings))])
        self.metadata = Metadata(tuple(classes), {"x": 1}, None, {}, (), {}, 0, "float32", "")
        nothing = np.zeros((0, 2)), np.zeros(0, np.int32)
        self.records = [
            Record(f"m{i}", {"x": x}, stride, len(x) * stride, *nothing, np.array(labels, np.int32))
            for i, (stride, x, labels) in enumerate(recordings)
        ]

    def __len__(self):
        return len(self.records)

    def __getitem__(self, i):
        return self.records[i]
