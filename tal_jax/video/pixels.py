"""What an encoder sees of a video at a time: its image, or how it moves to the next one."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import jax
import numpy as np

from tal_jax.ops.optical_flow import OPENCV, OPENCV_CUDA, tvl1
from tal_jax.video.decode import Shown, Video
from tal_jax.video.flow import BOUND, grey, stored, to_bytes
from tal_jax.video.grid import on_grid
from tal_jax.video.preprocessing import PLACES, Preprocessing, crop, resize

FlowMethod = Literal["opencv", "denseflow"]
METHODS = {"opencv": OPENCV, "denseflow": OPENCV_CUDA}
PAIRS = 8  # whose flow is computed at a time: a program has one size


class Pixels(Protocol):
    """How images of a video become what clips are made of."""

    @property
    def ahead(self) -> int:
        """How many images after one its pixels need."""
        ...

    def on_grid(
        self, video: Video, rate: Fraction, phase: Fraction, *, strict: bool, threads: int
    ) -> Iterator[tuple[int, Any]]:
        """The points of a grid, see `grid.on_grid`, with what `keep` takes of each; else as of `Video.shown`."""
        ...

    def keep(self, image: Any) -> Any:
        """What is kept of an image until its pixels are made."""
        ...

    def make(self, kept: Sequence[Sequence[Any]]) -> Sequence[np.ndarray]:
        """Pixels [N, Y, X, C] uint8 of N crops, of images that are given with the `ahead` ones after them."""
        ...


class _OfImages:
    """Pixels that are made of a video's own images."""

    def on_grid(
        self, video: Video, rate: Fraction, phase: Fraction, *, strict: bool, threads: int
    ) -> Iterator[tuple[int, Any]]:
        """The nearest images."""
        return on_grid(video, video.shown(strict=strict, threads=threads), rate, phase)


@dataclass(frozen=True)
class Rgb(_OfImages):
    """The images themselves."""

    preprocessing: Preprocessing
    ahead: ClassVar[int] = 0

    def keep(self, image: Shown) -> np.ndarray:
        """[N, Y, X, 3], resized and cropped."""
        return self.preprocessing.of_video(image)

    def make(self, kept: Sequence[Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
        """The same."""
        return [images[0] for images in kept]


@dataclass(frozen=True)
class Flow(_OfImages):
    """TV-L1 optical flow from each image to the next, of whole images in the size that is then cropped."""

    preprocessing: Preprocessing
    method: FlowMethod = "denseflow"
    bound: float = BOUND
    ahead: ClassVar[int] = 1

    def keep(self, image: Shown) -> np.ndarray:
        """[Y, X] uint8: grey and resized."""
        return grey(resize(image.rgb(), self.preprocessing.resized_shape(*image.shape), "bilinear"))

    def make(self, kept: Sequence[Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
        """[N, Y, X, 2] of each pair, x and y."""
        fields = fields_of([(pair[0], pair[1]) for pair in kept], self.method, self.bound)
        places = PLACES[self.preprocessing.crop]
        return [np.stack([_crop(field, self.preprocessing.side, place) for place in places]) for field in fields]


@dataclass(frozen=True)
class StoredFlow:
    """Flow fields as denseflow stored them, resized and cropped as the encoder wants it."""

    preprocessing: Preprocessing
    folder: str  # of denseflow's folders, one for each video
    ahead: ClassVar[int] = 0

    def on_grid(
        self, video: Video, rate: Fraction, phase: Fraction, *, strict: bool, threads: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The fields that begin nearest; of the video only its header is read. Raises InputError: see `stored`."""
        del strict, threads
        fields = stored(Path(self.folder) / Path(video.path).stem)
        return stored_on_grid(video, fields, video.own_rate(), rate, phase)

    def keep(self, image: Any) -> np.ndarray:
        """[N, Y, X, 2] of a field [Y, X, 2] uint8."""
        field = resize(image, self.preprocessing.resized_shape(*image.shape[:2]), "bilinear")
        places = PLACES[self.preprocessing.crop]
        return np.stack([_crop(field, self.preprocessing.side, place) for place in places])

    def make(self, kept: Sequence[Sequence[np.ndarray]]) -> Sequence[np.ndarray]:
        """The same."""
        return [fields[0] for fields in kept]


def stored_on_grid(
    video: Video, fields: Iterator[np.ndarray], own_rate: Fraction, rate: Fraction, phase: Fraction
) -> Iterator[tuple[int, np.ndarray]]:
    """Fields for the points of a grid, each the one that begins nearest; field n begins at n / own_rate seconds.

    Args:
      video: whose length counts up as fields are taken: of N images there are N - 1 fields.
      fields: of the video, in their order.
      own_rate: of its images.
      rate: points a second.
      phase: where in its interval a point lies.
    """
    k = 0
    field: np.ndarray | None = None
    for n, field in enumerate(fields):
        video.images, video.seconds = n + 2, (n + 2) / own_rate
        while (k + phase) / rate < (n + Fraction(1, 2)) / own_rate:
            yield k, field
            k += 1
    while field is not None and (k + phase) / rate < video.seconds:
        yield k, field
        k += 1


def fields_of(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], method: FlowMethod, bound: float = BOUND
) -> list[np.ndarray]:
    """The flow of pairs of grey images [Y, X] of one size, as 8 bits hold it: [Y, X, 2] uint8, x and y, each.

    An image that is its successor moves nowhere, which needs no computation.
    """
    still = np.full((*pairs[0][0].shape, 2), to_bytes(np.zeros(1, np.float32), bound)[0], np.uint8) if pairs else None
    found: list[Any] = [still if a is b else None for a, b in pairs]
    moving = [i for i, field in enumerate(found) if field is None]
    for first in range(0, len(moving), PAIRS):
        group = moving[first : first + PAIRS]
        filled = [*group, *[group[0]] * (PAIRS - len(group))]
        flow = _program(method)(*(np.stack([pairs[i][side] for i in filled]) for side in (0, 1)))
        for i, field in zip(group, to_bytes(np.asarray(flow), bound), strict=False):
            found[i] = field
    return found


@functools.cache
def _program(method: FlowMethod) -> Any:
    return jax.jit(functools.partial(tvl1, settings=METHODS[method]))


def _crop(field: np.ndarray, side: int, place: tuple[int, int, bool]) -> np.ndarray:
    cut = crop(field, side, place)
    if not place[2]:
        return cut
    turned = cut.copy()  # what moves to the right moves to the left in a mirror
    turned[..., 0] = 255 - turned[..., 0]
    return turned
