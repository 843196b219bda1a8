"""The one loop over batches of frames: results come one batch late, row by row. NumPy and no JAX, as in `windows`."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

Inputs = TypeVar("Inputs")
Row = TypeVar("Row")
Result = TypeVar("Result")
T = TypeVar("T")


class Place(NamedTuple, Generic[Row]):
    """Where a row of a batch comes from."""

    position: int  # of its recording, in the split or list that is at work
    start: float  # seconds at which it begins in the recording
    row: Row  # what went into the batch


class Frame(NamedTuple, Generic[Row, Result]):
    """A row of a batch and what a step made of it."""

    position: int
    start: float
    row: Row
    result: Result


def map_batches(
    step: Callable[[Inputs], T],
    batches: Iterable[tuple[Inputs, Sequence[Place[Row] | None]]],
    fetch: Callable[[T], Iterable[Result]],
) -> Iterator[Frame[Row, Result]]:
    """Runs a step over batches and yields their frames, in order; at most two batches are held.

    A batch is given to the step before the results of the one before are waited for, so that a device which works in
    the background need not wait for its host.

    Args:
      step: computes a batch's results from its inputs; it may return before they are there.
      batches: the inputs of each batch, and for each of its rows where it comes from; None for a row that only fills
        the batch.
      fetch: waits for a batch's results and takes them apart, one element for each row.

    Yields:
      A frame for every row that is not None.
    """
    waiting: list[tuple[Sequence[Place[Row] | None], T]] = []
    for inputs, places in batches:
        waiting.append((places, step(inputs)))
        if len(waiting) > 1:
            yield from _frames(*waiting.pop(0), fetch)
    for batch in waiting:
        yield from _frames(*batch, fetch)


def _frames(
    places: Sequence[Place[Row] | None], results: T, fetch: Callable[[T], Iterable[Result]]
) -> Iterator[Frame[Row, Result]]:
    for place, result in zip(places, fetch(results), strict=True):
        if place is not None:
            yield Frame(*place, result)


def by_recording(items: Iterable[tuple[int, T]]) -> Iterator[tuple[int, list[T]]]:
    """Groups neighbouring items of one recording: (position, item), .. -> (position, [item, ..]), .."""
    for position, group in itertools.groupby(items, key=lambda item: item[0]):
        yield position, [item for _, item in group]
