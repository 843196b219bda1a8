"""The Grain pipeline: from records of a prepared set to fixed-shape batches."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import grain
import numpy as np

from tal_jax.data.dataset import Record, Split
from tal_jax.data.framing import Framing, resample
from tal_jax.data.statistics import Normalization
from tal_jax.types import Array, Batch


@flax.struct.dataclass
class Origin:
    """Where the rows of a batch come from."""

    index: Array  # [B] int32, the recording's position in its split; -1 for rows that only fill the batch
    offset: Array  # [B] float32 seconds, where the window starts


@dataclasses.dataclass(frozen=True)
class Assembler:
    """Turns a record into one unbatched `Batch` row: framing, units, joins by id."""

    framing: Framing
    streams: tuple[str, ...]
    width: int  # C, of all streams together
    num_classes: int  # K
    max_segments: int  # G
    max_proposals: int = 0  # P in detection
    train_proposals: int = 0  # P in training: as many, drawn from the best max_proposals; 0: all of them
    normalization: Normalization | None = None
    proposals: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None  # id -> (seconds [P, 2], scores [P])
    class_scores: Mapping[str, np.ndarray] | None = None  # id -> [K]
    min_seconds: float = 0.0  # segments up to this length are left out in training
    stride_jitter: float = 0.0  # training stretches time by up to this fraction
    around_actions: float = 0.75  # share of training windows drawn around an action, where recordings are windowed
    gain: float = 0.0  # training scales all features of a row by exp(gain * a standard normal)
    noise: float = 0.0  # standard deviation of Gaussian noise on training features, in units of the features

    def training_row(self, record: Record, index: int, rng: np.random.Generator) -> tuple[Batch, Origin]:
        """One row with a random offset where the recording is longer than the frame, and the augmentations."""
        total = self._length(record)
        scale = self.framing.native_span(total) / self.framing.snippets
        if self.stride_jitter:
            # Stretching beyond the frame would cut the recording; such a draw becomes a crop.
            scale *= float(np.exp(rng.uniform(-1, 1) * np.log1p(self.stride_jitter)))
        free = int(total - self.framing.snippets * scale)
        offset = float(self._random_offset(record, free, self.framing.snippets * scale, rng)) if free >= 1 else 0.0
        return self._row(record, index, offset, scale, rng)

    def detection_row(self, record: Record, index: int, offset: float) -> tuple[Batch, Origin]:
        """The row of the window that starts at `offset` stored snippets."""
        return self._row(record, index, offset, self.framing.native_span(self._length(record)) / self.framing.snippets)

    def empty_row(self) -> tuple[Batch, Origin]:
        """A row without anything real, to fill the last batch."""
        t, g, p, k = self.framing.snippets, self.max_segments, self.max_proposals, self.num_classes
        row = Batch(
            features=np.zeros((t, self.width), np.float32),
            mask=np.zeros(t, bool),
            stride=np.float32(1),
            duration=np.float32(0),
            labels=np.zeros(k, np.float32),
            segments=np.zeros((g, 2), np.float32),
            segment_labels=np.zeros(g, np.int32),
            segment_mask=np.zeros(g, bool),
            proposals=np.zeros((p, 2), np.float32),
            proposal_scores=np.zeros(p, np.float32),
            proposal_mask=np.zeros(p, bool),
            class_scores=np.zeros(k, np.float32),
        )
        return row, Origin(np.int32(-1), np.float32(0))

    def _random_offset(self, record: Record, free: int, span: float, rng: np.random.Generator) -> int:
        # Uniform windows of an hour with three short actions would be background nearly always: most windows are drawn
        # around an action.
        if len(record.segments) and rng.uniform() < self.around_actions:
            start, end = record.segments[rng.integers(len(record.segments))] / record.stride
            low, high = sorted((int(end - span) + 1, int(start)))
            return int(np.clip(rng.integers(low, high + 1), 0, free))
        return int(rng.integers(0, free + 1))

    def _length(self, record: Record) -> int:
        return min(len(record.features[s]) for s in self.streams)

    def _row(
        self, record: Record, index: int, offset: float, scale: float, rng: np.random.Generator | None = None
    ) -> tuple[Batch, Origin]:
        t, training = self.framing.snippets, rng is not None
        total = self._length(record)
        stored = np.concatenate([record.features[s][:total].astype(np.float32) for s in self.streams], axis=1)
        if self.normalization is not None:
            stored = self.normalization(stored)
        x = resample(stored, offset, scale, t)
        if rng is not None and self.gain:
            x = x * np.float32(np.exp(rng.normal(0, self.gain)))
        if rng is not None and self.noise:
            x = x + rng.normal(0, self.noise, x.shape).astype(np.float32)
        features = np.zeros((t, x.shape[1]), np.float32)
        features[: len(x)] = x

        stride, start = record.stride * scale, record.stride * offset
        # The last snippet may be cut short, or the recording may go on for a moment after its last whole snippet.
        duration = min(t, max((record.duration - start) / stride, len(x) - 1 + 1e-3))

        def frame(seconds: np.ndarray, keep: float) -> tuple[np.ndarray, np.ndarray]:
            units = (seconds - start) / stride
            inside = np.clip(units, 0, duration)
            length = np.maximum(units[:, 1] - units[:, 0], 1e-9)
            part = (inside[:, 1] - inside[:, 0]) / length
            return inside, np.flatnonzero((part >= keep) & (inside[:, 1] > inside[:, 0]))

        framed, kept = frame(record.segments, self.framing.keep if training else 0.5)
        if training and self.min_seconds:
            lengths = record.segments[kept, 1] - record.segments[kept, 0]
            kept = kept[lengths > self.min_seconds]
        kept = kept[: self.max_segments]
        segments = np.zeros((self.max_segments, 2), np.float32)
        segment_labels = np.zeros(self.max_segments, np.int32)
        segments[: len(kept)] = framed[kept]
        segment_labels[: len(kept)] = record.labels[kept]
        labels = np.zeros(self.num_classes, np.float32)
        labels[record.labels[kept]] = 1.0

        slots = self.train_proposals if training and self.train_proposals else self.max_proposals
        proposals = np.zeros((slots, 2), np.float32)
        proposal_scores = np.zeros(slots, np.float32)
        found = 0
        if self.proposals is not None and slots:
            seconds, scores = self.proposals.get(record.id, (np.zeros((0, 2)), np.zeros(0)))
            framed, inside = frame(np.asarray(seconds, np.float64), 0.5)
            best = inside[np.argsort(-scores[inside], kind="stable")][: self.max_proposals]
            if rng is not None and len(best) > slots:
                best = best[np.sort(rng.choice(len(best), slots, replace=False))]
            found = len(best)
            proposals[:found], proposal_scores[:found] = framed[best], scores[best]

        scores = np.zeros(self.num_classes, np.float32)
        if self.class_scores is not None and record.id in self.class_scores:
            scores[:] = self.class_scores[record.id]
        row = Batch(
            features=features,
            mask=np.arange(t) < len(x),
            stride=np.float32(stride),
            duration=np.float32(duration),
            labels=labels,
            segments=segments,
            segment_labels=segment_labels,
            segment_mask=np.arange(self.max_segments) < len(kept),
            proposals=proposals,
            proposal_scores=proposal_scores,
            proposal_mask=np.arange(slots) < found,
            class_scores=scores,
        )
        return row, Origin(np.int32(index), np.float32(start))


class _Indexed:
    """A split whose items know their position."""

    def __init__(self, split: Split, index: np.ndarray):
        self.split, self.index = split, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[int, Record]:
        position = int(self.index[i])
        return position, self.split[position]


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

    def assemble(item: tuple[int, Record], rng: np.random.Generator) -> tuple[Batch, Origin]:
        return assembler.training_row(item[1], item[0], rng)

    data: Any = grain.MapDataset.source(_Indexed(split, index)).seed(seed).shuffle().repeat()
    # Randomness belongs to the global position: the rows are the same whatever the number of processes.
    data = data.random_map(assemble)
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
