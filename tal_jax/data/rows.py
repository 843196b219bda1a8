"""From a record to one row of a batch: framing, units, joins by id; training rows are augmented."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import numpy as np

from tal_jax.batch_layout import Sizes, empty
from tal_jax.data.augmentation import Augmentation
from tal_jax.data.dataset import Split
from tal_jax.data.record import Record
from tal_jax.errors import InputError
from tal_jax.types import Batch
from tal_jax.windows import Framing, Normalization, Window, faults, read_window


@flax.struct.dataclass
class Origin:
    """Where the rows of a batch come from."""

    index: Any  # [B] int32, the recording's position in its split; -1 for rows that only fill the batch
    offset: Any  # [B] float32 seconds, where the window starts


@dataclasses.dataclass(frozen=True)
class Assembler:
    """Turns a record into one unbatched `Batch` row: framing, units, joins by id."""

    framing: Framing
    streams: tuple[str, ...]
    width: int  # C, of all streams together
    num_classes: int  # K, of the model
    max_segments: int  # G
    max_proposals: int = 0  # P in detection
    train_proposals: int = 0  # P in training: as many, drawn from the best max_proposals; 0: all of them
    normalization: Normalization | None = None
    proposals: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None  # id -> (seconds [P, 2], scores [P])
    class_scores: Mapping[str, np.ndarray] | None = None  # id -> [K]
    min_seconds: float = 0.0  # segments up to this length are left out in training
    stride_jitter: float = 0.0  # training stretches time by up to this fraction
    around_actions: float = 0.75  # share of training windows drawn around an action, where recordings are windowed
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)  # of training features
    weak: bool = False  # no segment annotation is used for anything: every window carries the recording's labels
    clips: "Clips | None" = None  # training rows carry a random clip
    clip_features: Mapping[str, np.ndarray] | None = None  # id -> [D]
    splicer: Callable[[Record, np.random.Generator], Record] | None = None  # inserts clips into training recordings
    class_of: np.ndarray | None = None  # [L] the model's class of each of the set's, -1 for none; None: the same ones

    @property
    def threads(self) -> int:
        """How many read and assemble ahead of the thread that trains."""
        return 2

    @property
    def sizes(self) -> Sizes:
        """Of the rows in detection; training may draw fewer proposals."""
        clip_features = self.clip_features
        return Sizes(
            snippets=self.framing.snippets,
            channels=self.width,
            classes=self.num_classes,
            segments=self.max_segments,
            proposals=self.max_proposals,
            clip_features=None if clip_features is None else next((len(x) for x in clip_features.values()), 0),
        )

    def training_row(self, record: Record, index: int, rng: np.random.Generator) -> tuple[Batch, Origin]:
        """One row with a random offset where the recording is longer than the frame, and the augmentations.

        Args:
          record: the record as stored.
          index: the position of the record in its split, for `Origin`.
          rng: the generator of this row alone.

        Raises:
          InputError: `clip_features` lacks the recording, its features are not finite or far too large, or a clip's
            shard is damaged.
        """
        if self.splicer is not None:
            record = self.splicer(record, rng)
        total = self._length(record)
        scale = self.framing.scale_of(total)
        if self.stride_jitter:
            # Stretching beyond the frame would cut the recording; such a draw becomes a crop.
            scale *= float(np.exp(rng.uniform(-1, 1) * np.log1p(self.stride_jitter)))
        free = int(total - self.framing.snippets * scale)
        offset = float(self._random_offset(record, free, self.framing.snippets * scale, rng)) if free >= 1 else 0.0
        row, origin = self._row(record, index, offset, scale, rng)
        if self.clips is not None:
            # Drawn last: a row is the same with and without clips.
            row = dataclasses.replace(row, clips=self.clips.draw(rng))
        return row, origin

    def detection_row(self, record: Record, index: int, offset: float) -> tuple[Batch, Origin]:
        """The row of the window that starts at `offset` stored snippets; it carries no clip.

        Raises:
          InputError: `clip_features` lacks the recording, or its features are not finite or far beyond all training.
        """
        return self._row(record, index, offset, self.framing.scale_of(self._length(record)))

    def empty_row(self) -> tuple[Batch, Origin]:
        """A row without anything real, to fill the last batch."""
        row = Batch(**empty(self.sizes))
        return row, Origin(np.int32(-1), np.float32(0))

    def _random_offset(self, record: Record, free: int, span: float, rng: np.random.Generator) -> int:
        # Uniform windows of an hour with three short actions would be background nearly always: most windows are drawn
        # around an action.
        if not self.weak and len(record.segments) and rng.uniform() < self.around_actions:
            start, end = record.segments[rng.integers(len(record.segments))] / record.stride
            low, high = sorted((int(end - span) + 1, int(start)))
            return int(np.clip(rng.integers(low, high + 1), 0, free))
        return int(rng.integers(0, free + 1))

    def _classes(self, numbers: np.ndarray) -> np.ndarray:
        """Classes of the model from those of the set; -1 where the model has no such class."""
        return numbers if self.class_of is None else self.class_of[numbers]

    def _length(self, record: Record) -> int:
        return min(len(record.features[s]) for s in self.streams)

    def _row(
        self, record: Record, index: int, offset: float, scale: float, rng: np.random.Generator | None = None
    ) -> tuple[Batch, Origin]:
        t, training = self.framing.snippets, rng is not None
        x = read_window([record.features[s] for s in self.streams], offset, scale, t, self.normalization)
        if fault := faults(x, self.normalization):
            remedy = " Or train with data.normalize=True" if training and self.normalization is None else ""
            raise InputError(f"record {record.id}: {fault}{remedy}")
        if rng is not None:
            x = self.augmentation(x, rng, self.normalization)
        window = Window.at(offset, scale, len(x), snippets=t, stride=record.stride, recording=record.duration)
        slots = self.train_proposals if training and self.train_proposals else self.max_proposals
        row = empty(dataclasses.replace(self.sizes, proposals=slots))
        row["features"], row["mask"] = window.padded(x)
        row["stride"][...], row["duration"][...] = window.stride, window.duration

        if self.weak:
            present = self._classes(record.present)
            row["labels"][present[present >= 0]] = 1.0
        else:
            labels = self._classes(record.labels)
            framed, kept = window.to_window(record.segments, self.framing.keep if training else 0.5)
            if training and self.min_seconds:
                lengths = record.segments[kept, 1] - record.segments[kept, 0]
                kept = kept[lengths > self.min_seconds]
            kept = kept[labels[kept] >= 0][: self.max_segments]
            count = len(kept)
            row["segments"][:count], row["segment_labels"][:count] = framed[kept], labels[kept]
            row["segment_mask"][:count] = True
            row["labels"][labels[kept]] = 1.0

        if self.proposals is not None and slots:
            seconds, scores = self.proposals.get(record.id, (np.zeros((0, 2)), np.zeros(0)))
            best, best_scores = window.best(seconds, scores, self.max_proposals)
            if rng is not None and len(best) > slots:
                drawn = np.sort(rng.choice(len(best), slots, replace=False))
                best, best_scores = best[drawn], best_scores[drawn]
            found = len(best)
            row["proposals"][:found], row["proposal_scores"][:found] = best, best_scores
            row["proposal_mask"][:found] = True

        if self.class_scores is not None and record.id in self.class_scores:
            row["class_scores"][:] = self.class_scores[record.id]
        if self.clip_features is not None:
            if record.id not in self.clip_features:
                raise InputError(
                    f"record {record.id}: the clip features of the trimmed branch lack it: run that stage again on "
                    "this set"
                )
            row["clip_features"][:] = self.clip_features[record.id]
        return Batch(**row), Origin(np.int32(index), np.float32(window.start))


def class_numbers(labels: Sequence[str], known: Sequence[str]) -> np.ndarray | None:
    """[L] int32: where each of a set's classes is among those of a model, -1 for none; None where they are the same."""
    if tuple(labels) == tuple(known):
        return None
    number = {label: i for i, label in enumerate(known)}
    return np.array([number.get(label, -1) for label in labels], np.int32)


@dataclasses.dataclass(frozen=True)
class Clips:
    """Trimmed recordings to draw from, one for every training row.

    Raises:
      InputError: there is nothing to draw from.
    """

    split: Split
    index: np.ndarray  # [N] positions in `split` to draw from
    assembler: Assembler

    def __post_init__(self) -> None:
        if len(self.index) == 0:
            raise InputError(
                f"{self.split.directory}: no clip to draw from in split {self.split.split!r}: prepare some with --clips"
            )

    def draw(self, rng: np.random.Generator) -> Batch:
        """One clip, all of them equally likely, as an unbatched row with the augmentations of its assembler."""
        position = int(self.index[rng.integers(len(self.index))])
        return self.assembler.training_row(self.split[position], position, rng)[0]
