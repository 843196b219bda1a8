"""From files to a table in ten lines, and a model without any config in five: python docs/quickstart.py."""

import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import tal_jax

STRIDE = 0.5  # seconds from one snippet to the next
QUICK = {"stages.mgfn.steps": 60}  # seconds of training, to show the way


def write_recordings(folder: Path, count: int = 24) -> None:
    """FOLDER/annotations.json and FOLDER/features/ID.npy [T, C]: two gestures, each of which shows in a channel."""
    rng = np.random.default_rng(0)
    (folder / "features").mkdir()
    database = {}
    for i in range(count):
        features, segments = rng.normal(0, 0.2, (40, 4)).astype(np.float32), []
        for start in (4, 22):
            length, gesture = int(rng.integers(5, 12)), int(rng.integers(2))
            features[start : start + length, gesture] += 1
            label, times = ("wave", "circle")[gesture], [start * STRIDE, (start + length) * STRIDE]
            segments.append({"label": label, "segment": times})
        np.save(folder / "features" / f"r{i:02d}.npy", features)
        subset = "validation" if i % 3 == 0 else "training"
        database[f"r{i:02d}"] = {"subset": subset, "duration": 40 * STRIDE, "annotations": segments}
    (folder / "annotations.json").write_text(json.dumps({"database": database}))


def from_files_to_a_table(folder: Path) -> float:
    """Prepares, trains on the labels alone ("supervised_watch" learns from segments too), detects, evaluates."""
    annotations, data, work = folder / "annotations.json", folder / "data", folder / "work"
    print(tal_jax.prepare(annotations, {"imu": folder / "features"}, stride=STRIDE, out=data))
    print(tal_jax.train("weak_watch:cas", work, data=data, changes=QUICK))
    found = tal_jax.detect(work, "validation", out=folder / "detections.json")
    result = tal_jax.evaluate(annotations, found, subset="validation", tiou="0.3:0.7:0.1")
    print(result)
    return result.average


def a_model_alone() -> jax.Array:
    """Proposals of one recording, refined by a TCANet that has learned nothing yet: segments [B, P, 2] in snippets."""
    features, mask, duration = jnp.ones((1, 64, 32)), jnp.ones((1, 64), bool), jnp.full(1, 64.0)
    proposals = jnp.array([[[4.0, 12.0], [20.0, 50.0]]])
    model = tal_jax.TCANet(num_classes=5, hidden=16, heads=2, local_heads=1, stages=2)
    output, _ = model.init_with_output(jax.random.key(0), features, mask, duration, proposals, train=False)
    return output.stages[-1].segments


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_recordings(Path(folder))
        from_files_to_a_table(Path(folder))
    print(a_model_alone())
