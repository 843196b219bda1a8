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
      step: compiled, of batches; its result is a tree of arrays [B, ..].
      split: records.
      assembler: makes the rows.
      index: [N] positions in the split.
      batch_size: rows of a batch.
      put: takes a batch to the devices; left out, the step does.

    Returns:
      Frames of one `Batch` row without its batch axis, and as much of the results. Rows are parts of their batch: who
      keeps one keeps the batch.
    """
    _, batches = detection_batches(split, assembler, index=index, batch_size=batch_size)
    placed = ((batch, _places(batch, origin)) for batch, origin in batches)
    return map_batches(lambda batch: step(put(batch)), placed, rows_of)


def _places(batch: Batch, origin: Origin) -> list[Place[Batch] | None]:
    starts = zip(origin.index.tolist(), origin.offset.tolist(), rows_of(batch), strict=True)
    return [Place(position, start, row) if position >= 0 else None for position, start, row in starts]


def rows_of(tree: Any) -> Iterator[Any]:
    """The rows of a tree of arrays [B, ..], on the host."""
    leaves, structure = jax.tree.flatten(jax.device_get(tree))
    for row in zip(*leaves, strict=True):
        yield jax.tree.unflatten(structure, row)
