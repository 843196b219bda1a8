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

from tal_jax.experiments.step_cost import compiled_train_step
from tal_jax.experiments.synthetic import synthetic_batch, synthetic_task
from tal_jax.experiments.weak_ablation import load_rows
from tal_jax.types import Batch

_CONFIG = flags.DEFINE_string("config", "configs/weak_hacs.py", "Config file whose variants are the rows.")
_CHANNELS = flags.DEFINE_integer("channels", 4096, "C, of all streams together.")
_CLASSES = flags.DEFINE_integer("classes", 200, "K.")
_SNIPPETS = flags.DEFINE_integer("snippets", 200, "T.")
_BATCH = flags.DEFINE_integer("batch", 8, "B.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Steps of every row that are timed.", lower_bound=1)
ROWS = ("cas", "mdcm", "ccm", "ktm", "full")


def prepare_step(config: dict[str, Any]) -> tuple[Any, Any, Batch]:
    """The compiled step of a row, its state, and a batch; clips carry random knowledge."""
    sizes = {"snippets": _SNIPPETS.value, "channels": _CHANNELS.value, "classes": _CLASSES.value}
    task, section = synthetic_task(config, "mgfn", **sizes)
    batch = jax.device_put(synthetic_batch(task, _BATCH.value, proposals=0, **sizes))
    state, train, _ = compiled_train_step(task, section, batch, donate=False)
    return train, state, batch


def main(argv: Sequence[str]) -> None:
    """Measures and prints a table."""
    del argv
    rows = {row: prepare_step(config) for row, config in load_rows(_CONFIG.value, ROWS, "", 0).items()}
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
