"""Batches of clips of one size, out of chunks of several videos: an image goes to the device once for all its clips."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tal_jax.video.clips import Chunk, Sampling


@dataclass(frozen=True)
class Row:
    """Whose feature a row of a batch is."""

    job: int  # which video
    clip: int  # of it


@dataclass(frozen=True)
class ClipBatch:
    """Clips for the device; those beyond `rows` are there to fill it."""

    images: np.ndarray  # [M, N, Y, X, 3] uint8, of N crops each
    index: np.ndarray  # [B, F] int32: which images make a clip
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Packing:
    """The sizes of all batches."""

    clips: int  # B
    images: int  # M
    chunk: int  # clips of a chunk at most

    @classmethod
    def of(cls, sampling: Sampling, clips: int) -> "Packing":
        """For batches of so many clips: four chunks fill one, or more that are small."""
        chunk = max(1, clips // 4)
        clips = clips // chunk * chunk
        return cls(clips, clips // chunk * sampling.distinct(chunk), chunk)

    def pack(self, pieces: Iterator[tuple[int, Chunk]]) -> Iterator[ClipBatch]:
        """Puts chunks into batches as they come; the last batch is filled up."""
        held: list[tuple[int, Chunk]] = []
        clips = images = 0
        for job, chunk in pieces:
            if clips + len(chunk.index) > self.clips or images + len(chunk.images) > self.images:
                yield self._batch(held)
                held, clips, images = [], 0, 0
            held.append((job, chunk))
            clips, images = clips + len(chunk.index), images + len(chunk.images)
            if clips == self.clips:  # not to keep a full one waiting
                yield self._batch(held)
                held, clips, images = [], 0, 0
        if held:
            yield self._batch(held)

    def _batch(self, held: list[tuple[int, Chunk]]) -> ClipBatch:
        first = held[0][1]
        images = np.zeros((self.images, *first.images.shape[1:]), np.uint8)
        index = np.zeros((self.clips, first.index.shape[1]), np.int32)
        rows: list[Row] = []
        used = 0
        for job, chunk in held:
            images[used : used + len(chunk.images)] = chunk.images
            index[len(rows) : len(rows) + len(chunk.index)] = chunk.index + used
            rows += [Row(job, chunk.first + i) for i in range(len(chunk.index))]
            used += len(chunk.images)
        return ClipBatch(images, index, tuple(rows))
