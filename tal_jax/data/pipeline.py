"""The Grain pipeline: from records of a prepared set to fixed-shape batches."""

from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from tal_jax.data.assembler import Assembler, Origin
from tal_jax.data.dataset import Split
from tal_jax.types import Batch


# How many records the disk is asked for before they are needed. Of 80 KB, shuffled, from a cold disk, a record takes 125
# microseconds without, 76 with 4, 63 with 8, 57 with 16.
AHEAD = 16


def reading_ahead(data: Any, split: Split, positions: Any, *, every: int = 1) -> Any:
    """Sets the disk to work on the records that come next.

    Args:
      data: `grain.MapDataset` that reads a record for each of its elements.
      split: records.
      positions: `grain.MapDataset` of their positions in the split.
      every: only every so many-th element will be asked for: the rows of one process.

    Returns:
      `data`, unchanged but for that.
    """

    def ask(n: int, row: Any) -> Any:
        following = n + AHEAD * every
        if following < len(positions):
            split.read_ahead(int(positions[following]))
        return row

    return data.map_with_index(ask)


def training_batches(
    split: Split,
    assembler: Assembler,
    *,
    index: np.ndarray,
    batch_size: int,
    seed: int,
    process: tuple[int, int] = (0, 1),
    threads: int = 2,
) -> grain.IterDataset:
    """Endless, globally shuffled batches; its iterator's state resumes exactly.

    Args:
      split: records.
      assembler: makes the rows.
      index: [N] positions of the recordings to use.
      batch_size: rows of this process.
      seed: of the order and of every row's randomness.
      process: (index, count): each process takes its own rows of the same global order.
      threads: that read and assemble ahead of the training thread.

    Returns:
      A dataset of (Batch, Origin).
    """

    def assemble(position: int, rng: np.random.Generator) -> tuple[Batch, Origin]:
        return assembler.training_row(split[position], int(position), rng)

    order: Any = grain.MapDataset.source(index).seed(seed).shuffle().repeat()
    # Randomness belongs to the global position: the rows are the same whatever the number of processes.
    data = reading_ahead(order.random_map(assemble), split, order, every=process[1])
    if process[1] > 1:
        data = data.slice(slice(process[0], None, process[1]))
    data = data.batch(batch_size, drop_remainder=True)
    return data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads))


def detection_batches(
    split: Split, assembler: Assembler, *, index: Sequence[int] | np.ndarray, batch_size: int, threads: int = 2
) -> tuple[int, grain.IterDataset]:
    """Every window of every recording once, in order; the last batch is filled with empty rows.

    Returns:
      (number of batches, dataset of (Batch, Origin)).
    """
    windows = [(int(i), float(o)) for i in index for o in assembler.framing.offsets(int(split.num_snippets[i]))]
    windows += [(-1, 0.0)] * (-len(windows) % batch_size)

    def assemble(window: tuple[int, float]) -> tuple[Batch, Origin]:
        i, offset = window
        return assembler.detection_row(split[i], i, offset) if i >= 0 else assembler.empty_row()

    data: Any = grain.MapDataset.source(windows).map(assemble).batch(batch_size)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return len(windows) // batch_size, data.to_iter_dataset(options)
