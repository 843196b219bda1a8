"""Splicing as augmentation: some training rows are recordings with trimmed clips inserted.

What trimmed clips know reaches the untrimmed branch directly: other people's, or other videos', actions appear within
its own recordings, and the recording's labels say so. Nothing but labels of recordings and clips is used.
"""

import dataclasses

import numpy as np

from tal_jax.data.composites import Excerpt, excerpts, insert, render, whole
from tal_jax.data.dataset import Split
from tal_jax.data.record import Record
from tal_jax.windows import Framing

CANDIDATES = 6  # clips read for each spliced row: enough for the actions it gets, and for a class that it lacks


@dataclasses.dataclass(frozen=True)
class Splicer:
    """Inserts clips into a share of the recordings, as `composites` does."""

    split: Split  # of clips
    index: np.ndarray  # [N] positions in it to draw from
    streams: tuple[str, ...]
    framing: Framing  # of the recordings
    share: float

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """The recording, or, for the share, one with clips of other classes than its own.

        Raises:
          InputError: the shard of a clip is damaged.
        """
        if rng.uniform() >= self.share:
            return record
        drawn = self.index[rng.integers(len(self.index), size=CANDIDATES)]
        by_label: dict[int, list[Excerpt]] = {}
        for clip in excerpts(self.split, drawn, self.streams):
            by_label.setdefault(clip.label, []).append(clip)
        host = whole(record, -1, self.streams)
        composition = insert(host, by_label, dict.fromkeys(by_label, 0), self.framing, rng)
        return record if composition is None else render(record, composition, self.streams, record.id)
