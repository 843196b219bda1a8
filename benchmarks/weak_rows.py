"""What a training step of each row of the weakly-supervised ladder costs, relative to the first row.

python -m benchmarks.weak_rows --config=configs/weak_hacs.py --channels=4096 --classes=200 --snippets=200 --batch=8

Random features; the rows' compiled steps run in alternation, so that a busy machine slows all of them; medians.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags

from tal_jax.data.dataset import Metadata
from tal_jax.data.framing import Framing
from tal_jax.train.climb import load_rows
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.registry import build_task
from tal_jax.train.step import init_state, make_train_step
from tal_jax.types import Batch

_CONFIG = flags.DEFINE_string("config", "configs/weak_hacs.py", "Config file whose variants are the rows.")
_CHANNELS = flags.DEFINE_integer("channels", 4096, "C, of all streams together.")
_CLASSES = flags.DEFINE_integer("classes", 200, "K.")
_SNIPPETS = flags.DEFINE_integer("snippets", 200, "T.")
_BATCH = flags.DEFINE_integer("batch", 8, "B.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Steps of every row that are timed.", lower_bound=1)
ROWS = ("cas", "mdcm", "ccm", "ktm", "full")


def random_batch(rows: int, snippets: int, channels: int, classes: int, rng: np.random.Generator) -> Batch:
    """Recordings of full length with one class each."""
    return Batch(
        features=rng.normal(size=(rows, snippets, channels)).astype(np.float32),
        mask=np.ones((rows, snippets), bool),
        stride=np.ones(rows, np.float32),
        duration=np.full(rows, snippets, np.float32),
        labels=np.eye(classes, dtype=np.float32)[rng.integers(0, classes, rows)],
        segments=np.zeros((rows, 0, 2), np.float32),
        segment_labels=np.zeros((rows, 0), np.int32),
        segment_mask=np.zeros((rows, 0), bool),
        proposals=np.zeros((rows, 0, 2), np.float32),
        proposal_scores=np.zeros((rows, 0), np.float32),
        proposal_mask=np.zeros((rows, 0), bool),
        class_scores=np.zeros((rows, classes), np.float32),
    )


def prepare_step(config: dict[str, Any], rng: np.random.Generator) -> tuple[Any, Any, Batch]:
    """The compiled step of a row, its state, and a batch; clips carry random knowledge."""
    section = config["stages"]["mgfn"]
    snippets, channels, classes = _SNIPPETS.value, _CHANNELS.value, _CLASSES.value
    labels = tuple(f"c{i:03d}" for i in range(classes))
    metadata = Metadata(labels, {"x": channels}, 1.0, {"training": 1}, (), {}, 0, "float32", "")
    task = build_task(section, metadata, Framing("window", snippets), "stages.mgfn")
    batch = random_batch(_BATCH.value, snippets, channels, classes, rng)
    if section["options"]["mmd_weight"]:
        model = section["model"]
        width = (1 + model["cascade"]) * len(model["dilations"]) * model["branch_hidden"]
        clips = random_batch(_BATCH.value, 8, channels, classes, rng)
        knowledge = rng.normal(size=(_BATCH.value, width)).astype(np.float32)
        batch = batch.replace(clips=clips.replace(knowledge=knowledge))
    batch = jax.device_put(batch)
    optimizer, _ = build_optimizer(steps=100, **section["optimizer"])
    state = jax.jit(lambda: init_state(task, optimizer, batch, seed=0, ema=False))()
    state = state.replace(step=state.step + 90)  # past all ramps
    step = jax.jit(make_train_step(task, optimizer, seed=0, ema_decay=0.0, steps=100))
    return step.lower(state, batch).compile(), state, batch


def main(argv: Sequence[str]) -> None:
    """Measures and prints a table."""
    del argv
    rng = np.random.default_rng(0)
    rows = {row: prepare_step(config, rng) for row, config in load_rows(_CONFIG.value, ROWS, "", 0).items()}
    seconds: dict[str, list[float]] = {row: [] for row in rows}
    for round_ in range(_ROUNDS.value + 1):
        for row, (step, state, batch) in rows.items():
            begin = time.perf_counter()
            jax.block_until_ready(step(state, batch))
            if round_:  # the first one warms up
                seconds[row].append(time.perf_counter() - begin)
    first = np.median(seconds[ROWS[0]])
    print(f"{'row':<8}{'ms':>10}{'ratio':>8}")
    for row, values in seconds.items():
        print(f"{row:<8}{1e3 * np.median(values):>10.1f}{np.median(values) / first:>8.2f}")


if __name__ == "__main__":
    app.run(main)
