"""From videos to the records of their clips: each video is decoded once for all its clips of a shard."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from tal_jax.data import annotations
from tal_jax.data.annotations import Note
from tal_jax.data.images import QUALITY, Images, files_of
from tal_jax.errors import InputError
from tal_jax.prepare.shards import Built, Item, Settings, record_of
from tal_jax.video.decode import Video
from tal_jax.video.flow import grey
from tal_jax.video.grid import on_grid
from tal_jax.video.pixels import FlowMethod, fields_of
from tal_jax.video.preprocessing import in_proportion, resize

RGB, FLOW = "rgb", "flow"


@dataclass(frozen=True)
class ClipItem(Item):
    """One clip; `files` has its video."""

    begin: float = 0.0  # seconds of the video
    end: float | None = None  # None: until it ends


@dataclass(frozen=True)
class CutSettings(Settings):
    """What holds for every clip of a set of images."""

    fps: float = 15.0  # images a second that are taken of a video; the stride is 1 / fps
    short_side: int = 256  # rows or columns, whichever are fewer, of what is stored; smaller images stay as they are
    quality: int = QUALITY  # of the JPEG files
    flow_method: FlowMethod | None = None  # of the stream `flow`, from each image to the next; None: there is none

    def built(self, items: Sequence[Item]) -> Iterator[Built]:
        """The clips of a shard, decoded.

        Raises:
          InputError: a video cannot be decoded at all.
        """
        clips = [item for item in items if isinstance(item, ClipItem)]
        for path, group in itertools.groupby(clips, key=lambda clip: clip.files[0].path):
            for cut in _cuts(path, list(group), self):
                yield _record(cut, self)


@dataclass
class _Cut:
    """A clip and what was decoded of it so far."""

    item: ClipItem
    files: list[bytes] = field(default_factory=list)
    greys: list[np.ndarray] = field(default_factory=list)  # to compute flow from
    images: int = 0
    notes: list[str] = field(default_factory=list)  # of damage in its video

    def holds(self, point: int, fps: float) -> bool:
        """Whether a point of the grid lies in the clip; a clip between two of them has the first one after it."""
        end = math.inf if self.item.end is None else self.item.end
        first = math.ceil(self.item.begin * fps - 1e-6)
        return first <= point < max(end * fps - 1e-6, first + 1)

    def over(self, point: int, fps: float) -> bool:
        """Whether no later point than this one lies in it."""
        return self.item.end is not None and point + 1 >= max(self.item.end * fps - 1e-6, self.item.begin * fps + 1)


def _cuts(path: str, items: Sequence[ClipItem], settings: CutSettings) -> list[_Cut]:
    """All clips of a video, in one pass over it, which ends with the last of them."""
    cuts = [_Cut(item) for item in items]
    video = Video(path)
    rate = Fraction(settings.fps).limit_denominator(10_000)
    shown: Any = None
    files: list[bytes] | None = None
    grey_image = np.zeros((0, 0), np.uint8)
    images = on_grid(video, video.shown(threads=1), rate)
    for point, image in images:
        if image is not shown:
            shown, files = image, None
        for cut in cuts:
            if cut.holds(point, settings.fps):
                if files is None:  # a slow video's image serves several points
                    pixels = _resized(image.rgb(), settings.short_side)
                    files = files_of(pixels, settings.quality)
                    grey_image = grey(pixels) if settings.flow_method else grey_image
                cut.files += files
                cut.greys += [grey_image] if settings.flow_method else []
                cut.images += 1
        if all(cut.over(point, settings.fps) for cut in cuts):
            break
    for cut in cuts:
        cut.notes += video.notes
    return cuts


def _resized(image: np.ndarray, short_side: int) -> np.ndarray:
    rows, columns = image.shape[:2]
    if min(rows, columns) <= short_side:
        return image
    return resize(image, in_proportion(short_side, rows, columns), "bilinear")


def _flow_files(greys: Sequence[np.ndarray], method: FlowMethod, quality: int) -> list[bytes]:
    """The files of as many fields as there are images: the last one moves as the one before."""
    pairs = list(itertools.pairwise(greys)) or [(greys[0], greys[0])]
    fields = fields_of(pairs, method)
    fields += fields[-1:] * (len(greys) - len(fields))
    return [file for field in fields for file in files_of(field, quality)]


def _record(cut: _Cut, settings: CutSettings) -> Built:
    item, recording = cut.item, cut.item.recording
    notes = [Note("damaged video", recording.id, note) for note in cut.notes]
    if not cut.images:
        raise InputError(
            f"{item.files[0].path}: record {recording.id}: no image from {item.begin:.2f} s on can be decoded: correct "
            "its times, or leave the video out with --blocked=FILE"
        )
    stride = 1 / settings.fps
    duration = cut.images * stride
    if item.end is None:
        instances, more = annotations.clean(recording, duration, settings.min_seconds)
        notes += more
    else:
        instances = tuple(annotations.Instance(0.0, duration, label) for label in recording.labels)
    features = {RGB: Images(cut.files, 3)}
    if settings.flow_method:
        features[FLOW] = Images(_flow_files(cut.greys, settings.flow_method, settings.quality), 2)
    return record_of(recording, features, stride, duration, instances, settings.labels), notes, {}
