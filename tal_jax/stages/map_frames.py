"""A compiled step over every frame of a split's recordings: `frames.map_batches` for JAX."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from tal_jax.data.batches import detection_batches
from tal_jax.data.dataset import Split
from tal_jax.data.rows import Assembler, Origin
from tal_jax.frames import Frame, Place, map_batches
from tal_jax.types import Batch


def map_frames(
    step: Callable[[Batch], Any],
    split: Split,
    assembler: Assembler,
    *,
    index: Sequence[int] | np.ndarray,
    batch_size: int,
    put: Callable[[Batch], Batch] = lambda batch: batch,
) -> Iterator[Frame[Batch, Any]]:
    """Every frame of the given recordings once, in order, with what the step makes of it; all on the host.

    Args:
      step: a compiled function of a batch, whose result is a tree of arrays [B, ..].
      split: the split whose records are read.
      assembler: makes rows of records.
      index: [N] positions of the recordings in the split.
      batch_size: B, how many rows a batch has.
      put: moves a batch to the devices; left out, the step does that by itself.

    Returns:
      Frames; `row` is a `Batch` without batch axis, `result` the row's part of the step's result. Both are views of
      their batch: who keeps one keeps the batch in memory.
    """
    _, batches = detection_batches(split, assembler, index=index, batch_size=batch_size)
    placed = ((batch, _places(batch, origin)) for batch, origin in batches)
    return map_batches(lambda batch: step(put(batch)), placed, rows_of)


def _places(batch: Batch, origin: Origin) -> list[Place[Batch] | None]:
    starts = zip(origin.index.tolist(), origin.offset.tolist(), rows_of(batch), strict=True)
    return [Place(position, start, row) if position >= 0 else None for position, start, row in starts]


def rows_of(tree: Any) -> Iterator[Any]:
    """The B rows of a tree of arrays [B, ..], each a tree of NumPy arrays without that axis."""
    leaves, structure = jax.tree.flatten(jax.device_get(tree))
    for row in zip(*leaves, strict=True):
        yield jax.tree.unflatten(structure, row)
