"""The loss of every recording by itself: which ones does a model find hard?"""

from functools import partial

import jax
import numpy as np

from tal_jax.data.dataset import Split
from tal_jax.data.rows import Assembler
from tal_jax.stages.map_frames import map_frames
from tal_jax.tasks.task import Params, Task
from tal_jax.types import Array, Batch


def recording_losses(
    task: Task, params: Params, split: Split, assembler: Assembler, *, index: np.ndarray, batch_size: int
) -> np.ndarray:
    """The training loss of recordings, each as a batch of its own, as at the end of training but without noise.

    No augmentation, dropout or jitter. A recording in several windows has their mean, weighted by real snippets.

    Args:
      task: whose loss.
      params: of the task.
      split: records.
      assembler: makes the rows.
      index: [N] positions in the split.
      batch_size: windows at a time.

    Returns:
      [N] float64; NaN where the loss is not finite.
    """
    task = task.without_noise()
    rng = jax.random.key(0)

    @jax.jit
    def losses(params: Params, batch: Batch) -> Array:
        def one(row: Batch) -> Array:
            total, _ = task.loss(params, jax.tree.map(lambda x: x[None], row), rng, 1.0)
            return total

        return jax.lax.map(one, batch)

    total, weight = np.zeros(len(split)), np.zeros(len(split))
    for frame in map_frames(partial(losses, params), split, assembler, index=index, batch_size=batch_size):
        real = np.sum(frame.row.mask)
        total[frame.position] += np.float64(frame.result) * real
        weight[frame.position] += real
    mean = np.divide(total, weight, out=np.full(len(split), np.nan), where=weight > 0)
    return np.where(np.isfinite(mean), mean, np.nan)[index]
