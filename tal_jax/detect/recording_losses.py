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
    """The training loss of recordings, each as a batch of its own, ramped up as at the end of training.

    There is no augmentation, dropout or jitter. A recording of several windows has the mean of their losses, weighted
    by real snippets.

    Args:
      task: the task whose loss it is.
      params: the task's parameters.
      split: the split whose records are read.
      assembler: makes rows of records.
      index: [N] positions of the recordings in the split.
      batch_size: how many windows are computed at a time.

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
