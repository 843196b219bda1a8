"""Clips of a video: which images each holds, and chunks of clips that share the images they overlap in."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tal_jax.video.decode import Video
from tal_jax.video.grid import on_grid
from tal_jax.video.preprocessing import Preprocessing


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

    def __post_init__(self):
        if min(self.images, self.stride, self.interval) < 1:
            raise ValueError(f"images, stride and interval are 1 or more, not {self}")

    def first(self, i: int) -> int:
        """Grid point of the first image of clip i; it can lie before the beginning."""
        return i * self.stride + (self.stride - self.images * self.interval) // 2

    def points(self, i: int) -> list[int]:
        """Grid points of the images of clip i, beyond the ends of the video too."""
        return [self.first(i) + j * self.interval for j in range(self.images)]

    def uses(self, point: int) -> bool:
        """Whether any clip holds the grid point."""
        span = self.images * self.interval
        start = self.first(0)
        nearest = range((point - start - span) // self.stride, (point - start) // self.stride + 1)
        return any(0 <= (d := point - start - i * self.stride) < span and d % self.interval == 0
                   for i in nearest if i >= 0)  # fmt: skip

    def count(self, points: int) -> int:
        """How many clips a video of so many grid points has: those whose middle lies before its end; at least one."""
        return max(1, math.ceil((points - self.stride / 2) / self.stride))

    def distinct(self, clips: int) -> int:
        """How many different images so many neighbouring clips hold at most."""
        return len({point for i in range(clips) for point in self.points(i)})


@dataclass(frozen=True)
class Chunk:
    """Neighbouring clips of one video."""

    images: np.ndarray  # [M, N, Y, X, 3] uint8, N crops of each image that the clips hold
    index: np.ndarray  # [B, F] int32: which of the images
    first: int  # number of the first clip
    last: bool  # whether the video ends with it


def chunks(
    video: Video,
    sampling: Sampling,
    preprocessing: Preprocessing,
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
      preprocessing: of each image.
      rate: grid points a second.
      clips: of a chunk; the last one can hold fewer.
      strict: see `Video.shown`.
      threads: of the decoder.

    Raises:
      InputError: see `Video.shown`.
    """
    held: dict[int, np.ndarray] = {}
    i, points, shown, pixels = 0, 0, None, None
    for k, image in on_grid(video, video.shown(strict=strict, threads=threads), rate, sampling.phase):
        if image is not shown:
            shown, pixels = image, None
        if k == 0 or sampling.uses(k):
            if pixels is None:  # a slow video's image serves several points
                pixels = preprocessing.of_video(image)
            held[k] = pixels
        points = k + 1
        # None of these clips reaches beyond the end then, and another one follows.
        while points > sampling.points(i + clips - 1)[-1] and sampling.count(points) > i + clips:
            yield _chunk(held, sampling, range(i, i + clips), points, last=False)
            i += clips
            held = {p: x for p, x in held.items() if p >= sampling.first(i)}
    if shown is not None and points - 1 not in held:
        held[points - 1] = preprocessing.of_video(shown)
    total = sampling.count(points)
    for j in range(i, total, clips):
        stop = min(j + clips, total)
        yield _chunk(held, sampling, range(j, stop), points, last=stop == total)


def _chunk(held: dict[int, np.ndarray], sampling: Sampling, clips: range, points: int, last: bool) -> Chunk:
    wanted = [[min(max(p, 0), points - 1) for p in sampling.points(i)] for i in clips]
    order = {p: at for at, p in enumerate(sorted({p for row in wanted for p in row}))}
    index = np.array([[order[p] for p in row] for row in wanted], np.int32)
    return Chunk(np.stack([held[p] for p in order]), index, clips.start, last)
