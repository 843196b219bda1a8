"""From a packed clip to one row of a batch: the images that a network sees, decoded, cropped and changed."""

import dataclasses
import os
from typing import ClassVar

import numpy as np

from tal_jax.batch_layout import Sizes, empty
from tal_jax.data.augmentation import Augmentation
from tal_jax.data.record import Record
from tal_jax.data.rows import Origin
from tal_jax.encoders.entry import Encoder
from tal_jax.errors import InputError
from tal_jax.recognition.sampling import Crop, Cropping, Times, jittered
from tal_jax.types import Batch
from tal_jax.windows import Framing


@dataclasses.dataclass(frozen=True)
class ClipRows:
    """Makes rows of clips, in the place of `data.rows.Assembler`, which makes them of feature vectors.

    A row of training has F images, one of evaluation F of each of V views, one view after the other.
    """

    encoder: Encoder
    stream: str  # of the set
    num_classes: int  # K, of the model
    times: Times
    cropping: Cropping
    views: int = 1  # V
    flip: float = 0.5  # share of training rows that are mirrored
    jitter: float = 0.0  # of colours, see `jittered`
    class_of: np.ndarray | None = None  # see `Assembler`

    normalization: ClassVar[None] = None  # images are normalised on the device
    augmentation: ClassVar[Augmentation] = Augmentation()  # none of feature vectors
    proposals: ClassVar[None] = None

    @property
    def threads(self) -> int:
        """How many decode ahead of the thread that trains: all cores, as decoding needs no lock of Python."""
        return os.cpu_count() or 1

    @property
    def framing(self) -> Framing:
        """One frame, whatever the length of the clip."""
        return Framing("resize", self.times.images * self.views)

    @property
    def sizes(self) -> Sizes:
        """Of the rows in detection; training has one view."""
        return self._sizes(self.views)

    def training_row(self, record: Record, index: int, rng: np.random.Generator) -> tuple[Batch, Origin]:
        """One row of random images, crop and mirroring.

        Args:
          record: the record as stored.
          index: the position of the record in its split, for `Origin`.
          rng: the generator of this row alone.

        Raises:
          InputError: an image is damaged, or smaller than any crop.
        """
        images = record.features[self.stream]
        at = self.times.drawn(len(images), rng)
        mirrored = bool(rng.random() < self.flip)
        crop: Crop | None = None
        parts = {}
        for i in self.times.stacked(at, len(images)).ravel().tolist():
            if i not in parts:
                image = self._image(record, i)
                crop = crop or self.cropping.drawn((image.shape[0], image.shape[1]), rng)
                parts[i] = crop.of(image, self.encoder.side, mirrored, self.encoder.sees_flow)
        pixels = self._stacked(at, parts, len(images))
        if self.jitter and not self.encoder.sees_flow:
            pixels = jittered(pixels, self.jitter, rng)
        return self._row(record, index, pixels, views=1)

    def detection_row(self, record: Record, index: int, offset: float) -> tuple[Batch, Origin]:
        """The row of all views, each cropped as `launch.encode` crops; the offset is always 0."""
        del offset
        total = len(record.features[self.stream])
        at = self.times.views(total, self.views).ravel()
        needed = set(self.times.stacked(at, total).ravel().tolist())
        parts = {i: self.encoder.preprocessing.on_host(self._image(record, i))[0] for i in needed}
        return self._row(record, index, self._stacked(at, parts, total), self.views)

    def empty_row(self) -> tuple[Batch, Origin]:
        """A row without anything real, to fill the last batch."""
        return Batch(**empty(self.sizes)), Origin(np.int32(-1), np.float32(0))

    def _sizes(self, views: int) -> Sizes:
        side = self.encoder.side
        return Sizes(self.times.images * views, self.encoder.channels, self.num_classes, pixels=(side, side))

    def _image(self, record: Record, i: int) -> np.ndarray:
        try:
            return record.features[self.stream][i]
        except ValueError as e:
            raise InputError(f"record {record.id}: {e}: delete the set and run launch.pack again") from e

    def _stacked(self, at: np.ndarray, parts: dict[int, np.ndarray], total: int) -> np.ndarray:
        """[T, Y, X, C]: of flow, the fields of every stack side by side in the channels."""
        rows = [np.concatenate([parts[i] for i in row], axis=2) for row in self.times.stacked(at, total).tolist()]
        return np.stack(rows)

    def _row(self, record: Record, index: int, pixels: np.ndarray, views: int) -> tuple[Batch, Origin]:
        row = empty(self._sizes(views))
        row["features"][:], row["mask"][:] = pixels, True
        row["stride"][...], row["duration"][...] = record.duration / len(pixels), len(pixels)
        present = record.present if self.class_of is None else self.class_of[record.present]
        row["labels"][present[present >= 0]] = 1.0
        return Batch(**row), Origin(np.int32(index), np.float32(0))
