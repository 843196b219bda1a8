"""Inputs that both sides share: the same numbers, the same files."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

STORE = Path(tempfile.gettempdir()) / "tal_jax_benchmarks"


def nms_inputs(rows: int, proposals: int) -> tuple[np.ndarray, np.ndarray]:
    """Segments [B, P, 2] and scores [B, P]."""
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 90, (rows, proposals, 1))
    segments = np.concatenate([start, start + rng.uniform(1, 30, start.shape)], axis=-1)
    return segments.astype(np.float32), rng.uniform(size=(rows, proposals)).astype(np.float32)


def attention_inputs(snippets: int) -> tuple[np.ndarray, ...]:
    """q, k, v [1, T, 8, 64]."""
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(1, snippets, 8, 64)).astype(np.float32) for _ in range(3))


def records(records: int) -> tuple[Path, Path]:
    """A prepared set of that many recordings of 100 x 400, and the folder of .npy files it was made from.

    Made once, by `launch.prepare`'s own code with its defaults: float16.
    """
    from tal_jax.prepare.plan import Options
    from tal_jax.prepare.prepare import prepare

    folder, data = STORE / f"features-{records}", STORE / f"data16-{records}"
    if not (data / "dataset_info.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        database = {}
        for i in range(records):
            np.save(folder / f"r{i:05d}.npy", rng.normal(size=(100, 400)).astype(np.float32))
            segment = {"segment": [1.0, 5.0], "label": f"class {i % 20}"}
            database[f"r{i:05d}"] = {"subset": "training", "duration": 100.0, "annotations": [segment]}
        (STORE / "annotations.json").write_text(json.dumps({"database": database}))
        prepare(Options(str(STORE / "annotations.json"), {"rgb": str(folder)}, "1.0", str(data)))
    return data, folder


def forget(folder: Path) -> None:
    """Asks the kernel to drop a folder's files from its cache, so that they are read from the disk again."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def map_inputs(recordings: int, classes: int, detections: int) -> tuple[Path, Path]:
    """An annotation file and a detections file of that size; half of the detections have a class of the recording."""
    rng = np.random.default_rng(0)
    each = detections // recordings
    database, results = {}, {}
    for i in range(recordings):
        own, other = (f"class {k:03d}" for k in rng.integers(0, classes, 2))
        duration = float(rng.uniform(60, 240))
        start = rng.uniform(0, duration - 10, rng.integers(1, 5))
        truth = np.stack([start, start + rng.uniform(2, 10, len(start))], axis=-1)
        database[f"v{i:05d}"] = {
            "subset": "validation",
            "duration": duration,
            "annotations": [{"segment": s, "label": own} for s in truth.tolist()],
        }
        near = truth[np.arange(each) % len(truth)] + rng.normal(0, 2, (each, 2))
        rows = zip(np.sort(near, axis=-1).tolist(), rng.uniform(size=each).tolist(), strict=True)
        results[f"v{i:05d}"] = [
            {"label": own if j % 2 else other, "score": score, "segment": segment}
            for j, (segment, score) in enumerate(rows)
        ]
    STORE.mkdir(exist_ok=True)
    truth_path, found_path = STORE / "truth.json", STORE / "detections.json"
    truth_path.write_text(json.dumps({"database": database}))
    found_path.write_text(json.dumps({"results": results}))
    return truth_path, found_path
