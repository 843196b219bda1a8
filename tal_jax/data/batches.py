"""The Grain pipeline: from records of a prepared set to fixed-shape batches."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

from tal_jax.data.dataset import AHEAD, Split
from tal_jax.data.record import Record
from tal_jax.data.rows import Assembler, Origin
from tal_jax.types import Batch

EPOCHS = 2**32  # more than any training has; Grain cannot count what has no end


def read_options(threads: int) -> grain.ReadOptions:
    """How many threads work ahead, and by how many elements."""
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)


def reading_ahead(data: Any, split: Split, positions: Any) -> Any:
    """Sets the disk to work on the records that come next.

    Args:
      data: `grain.MapDataset` that reads a record for each of its elements.
      split: the split whose records are read.
      positions: `grain.MapDataset` of their positions in the split.

    Returns:
      `data`, unchanged but for that.
    """

    def ask(n: int, row: Any) -> Any:
        following = n + AHEAD
        if following < len(positions):
            split.read_ahead(int(positions[following]))
        return row

    return data.map_with_index(ask)


def _of_process(data: Any, rows: int, process: int, count: int) -> Any:
    """The elements of one process: of every `rows` times `count` of them, its own block."""
    if count == 1:
        return data
    return grain.MapDataset.range(len(data) // count).map(
        lambda n: data[(n // rows * count + process) * rows + n % rows]
    )


def training_batches(
    split: Split,
    assembler: Assembler,
    *,
    index: np.ndarray,
    batch_size: int,
    seed: int,
    process: tuple[int, int] = (0, 1),
    threads: int | None = None,
    start: int = 0,
) -> grain.IterDataset:
    """Endless, globally shuffled batches; batch n is a function of the seed and n alone.

    Args:
      split: the split whose records are read.
      assembler: makes rows of records.
      index: [N] positions of the recordings to use.
      batch_size: number of rows of this process in a batch.
      seed: decides the order and every row's randomness.
      process: (index, count): of every global batch each process takes its own block of rows.
      threads: that read and assemble ahead of the training thread; None: as many as the assembler wants.
      start: the batch to begin with.

    Returns:
      A dataset of (Batch, Origin).
    """

    def assemble(position: int, rng: np.random.Generator) -> tuple[Batch, Origin]:
        return assembler.training_row(split[position], int(position), rng)

    order: Any = grain.MapDataset.source(index).seed(seed).shuffle().repeat(EPOCHS)
    # Randomness belongs to the global position: the batch is the same whatever the number of processes.
    rows, positions = (_of_process(data, batch_size, *process) for data in (order.random_map(assemble), order))
    data = reading_ahead(rows, split, positions)
    data = data.batch(batch_size, drop_remainder=True).slice(slice(start, None))
    return data.to_iter_dataset(read_options(threads or assembler.threads))


def detection_batches(
    split: Split,
    assembler: Assembler,
    *,
    index: Sequence[int] | np.ndarray,
    batch_size: int,
    threads: int | None = None,
) -> tuple[int, grain.IterDataset]:
    """Every window of every recording once, in order; the last batch is filled with empty rows.

    Returns:
      (number of batches, dataset of (Batch, Origin)).
    """
    spans = {int(i): assembler.framing.offsets(int(split.num_snippets[i])) for i in index}
    held = _Held(split, {i: len(offsets) for i, offsets in spans.items()})
    windows = [(int(i), float(o)) for i in index for o in spans[int(i)]]
    windows += [(-1, 0.0)] * (-len(windows) % batch_size)

    def assemble(window: tuple[int, float]) -> tuple[Batch, Origin]:
        i, offset = window
        if i < 0:
            return assembler.empty_row()
        return assembler.detection_row(split[i] if len(spans[i]) == 1 else held[i], i, offset)

    data: Any = grain.MapDataset.source(windows).map(assemble).batch(batch_size)
    return len(windows) // batch_size, data.to_iter_dataset(read_options(threads or assembler.threads))


class _Held:
    """The records of a split, each kept until every window of it was cut: a day of a thousand windows is read once.

    Threads cut the last windows of one recording while others cut the first of the next, so that two can be held.
    """

    def __init__(self, split: Split, windows: Mapping[int, int]):
        """`windows` says how many of each recording will be asked for."""
        self._split, self._left, self._lock = split, dict(windows), threading.Lock()
        self._records: dict[int, Record] = {}

    def __getitem__(self, i: int) -> Record:
        with self._lock:
            record = self._records.pop(i, None) or self._split[i]
            self._left[i] -= 1
            if self._left[i] > 0:
                self._records[i] = record
            return record
