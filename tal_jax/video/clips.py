"""Clips of a video: which images each holds, and chunks of clips that share the images they overlap in."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tal_jax.video.decode import Video
from tal_jax.video.pixels import Pixels


@dataclass(frozen=True)
class Sampling:
    """Which images of a video make its clips; image k of the grid stands at (k + phase) / rate seconds.

    Clip i holds the F images from `first(i)` on, `interval` grid points apart. It lies in the middle of snippet i, of
    the grid points from i * stride to (i + 1) * stride; where it reaches beyond an end of the video, the image at that
    end repeats.
    """

    images: int  # F of a clip
    stride: int  # grid points from one clip to the next
    interval: int = 1  # grid points from one image of a clip to the next
    phase: Fraction = Fraction(0)  # of a grid point in its interval: 1/2 looks at the middle
    stack: int = 1  # neighbouring grid points that each of the F is made of, in the middle of its interval

    def __post_init__(self):
        if min(self.images, self.stride, self.interval, self.stack) < 1:
            raise ValueError(f"images, stride, interval and stack are 1 or more, not {self}")

    def first(self, i: int) -> int:
        """Grid point of the first image of clip i; it can lie before the beginning."""
        middle = (self.interval - self.stack) // 2 if self.stack > 1 else 0
        return i * self.stride + (self.stride - self.images * self.interval) // 2 + middle

    def points(self, i: int) -> list[int]:
        """Grid points of the images of clip i, stack by stack, beyond the ends of the video too."""
        return [self.first(i) + j * self.interval + k for j in range(self.images) for k in range(self.stack)]

    def uses(self, point: int) -> bool:
        """Whether any clip holds the grid point."""
        offsets = self._offsets
        start = self.first(0)
        nearest = range((point - start - max(offsets)) // self.stride, (point - start) // self.stride + 1)
        return any(point - start - i * self.stride in offsets for i in nearest if i >= 0)

    @functools.cached_property
    def _offsets(self) -> frozenset[int]:
        """Grid points of a clip, from its first one on."""
        return frozenset(point - self.first(0) for point in self.points(0))

    def count(self, points: int) -> int:
        """How many clips a video of so many grid points has: those whose middle lies before its end; at least one."""
        return max(1, math.ceil((points - self.stride / 2) / self.stride))

    def distinct(self, clips: int) -> int:
        """How many different images so many neighbouring clips hold at most."""
        return len({point for i in range(clips) for point in self.points(i)})


@dataclass(frozen=True)
class Chunk:
    """Neighbouring clips of one video."""

    images: np.ndarray  # [M, N, Y, X, C] uint8, N crops of each image, or flow field, that the clips hold
    index: np.ndarray  # [B, F] int32: which of the images; of stacks, F times as many as each has
    first: int  # number of the first clip
    last: bool  # whether the video ends with it


def chunks(
    video: Video,
    sampling: Sampling,
    pixels: Pixels,
    rate: Fraction,
    clips: int,
    *,
    strict: bool = False,
    threads: int = 1,
) -> Iterator[Chunk]:
    """Decodes a video into chunks of so many clips; no image is converted twice, and few are held at a time.

    Args:
      video: see `Video`; its counts are complete after the last chunk.
      sampling: which images.
      pixels: of each image.
      rate: grid points a second.
      clips: of a chunk; the last one can hold fewer.
      strict: see `Video.shown`.
      threads: of the decoder.

    Raises:
      InputError: see `Video.shown`.
    """
    held = _Held(sampling, pixels)
    i, points, shown, kept = 0, 0, None, None
    for k, image in pixels.on_grid(video, rate, sampling.phase, strict=strict, threads=threads):
        if image is not shown:
            shown, kept = image, None
        if k == 0 or pixels.ahead or sampling.uses(k):
            if kept is None:  # a slow video's image serves several points
                kept = pixels.keep(image)
            held.kept[k] = kept
        points = k + 1
        # None of these clips reaches beyond the end then, and another one follows.
        while points > sampling.points(i + clips - 1)[-1] + pixels.ahead and sampling.count(points) > i + clips:
            yield held.chunk(range(i, i + clips), points, last=False)
            i += clips
            held.drop(sampling.first(i))
    if shown is not None and points - 1 not in held.kept:
        held.kept[points - 1] = pixels.keep(shown)
    total = sampling.count(points)
    for j in range(i, total, clips):
        stop = min(j + clips, total)
        yield held.chunk(range(j, stop), points, last=stop == total)


class _Held:
    """What is held of a video's images: of those at the grid points that clips to come need."""

    def __init__(self, sampling: Sampling, pixels: Pixels):
        self._sampling, self._pixels = sampling, pixels
        self.kept: dict[int, Any] = {}
        self._made: dict[int, np.ndarray] = {}

    def drop(self, before: int) -> None:
        """Forgets what lies before a grid point."""
        self._made = {p: x for p, x in self._made.items() if p >= before}
        newest = max(self.kept)
        # The last image may be all that clips beyond the end see.
        self.kept = {p: x for p, x in self.kept.items() if p >= min(before, newest - self._pixels.ahead)}

    def chunk(self, clips: range, points: int, last: bool) -> Chunk:
        """Clips of a video that has so many grid points so far, all of them if it is the `last` chunk."""
        ahead = self._pixels.ahead
        end = max(points - 1 - ahead, 0)  # the last field of a video is that of its last two images
        wanted = [[min(max(p, 0), end) for p in self._sampling.points(i)] for i in clips]
        order = {p: at for at, p in enumerate(sorted({p for row in wanted for p in row}))}
        missing = [p for p in order if p not in self._made]
        groups = [[self.kept[min(p + n, points - 1)] for n in range(ahead + 1)] for p in missing]
        self._made.update(zip(missing, self._pixels.make(groups), strict=True))
        index = np.array([[order[p] for p in row] for row in wanted], np.int32)
        return Chunk(np.stack([self._made[p] for p in order]), index, clips.start, last)
