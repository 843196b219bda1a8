"""Which images of a packed clip a network sees, and how they are cropped and changed in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tal_jax.video.preprocessing import resize

SHORTEST_SIDE = 8  # of a crop, pixels
JITTER_ORDER = ("brightness", "contrast", "saturation")


@dataclass(frozen=True)
class Times:
    """The images of a view: F of them, or with flow F stacks of neighbouring fields."""

    images: int  # F
    interval: int = 1  # packed images from one to the next, where they are dense
    dense: bool = False  # else one of each of F equal parts of the clip, as TSN has it
    stack: int = 1  # neighbouring images that each of F consists of

    def drawn(self, total: int, rng: np.random.Generator) -> np.ndarray:
        """Positions [F] of a clip of so many images, for training; stacks begin there."""
        room = max(total - self.stack + 1, 1)
        if self.dense:
            first = int(rng.integers(max(room - self.span + 1, 1)))
            return self._dense(first, room)
        edges = np.linspace(0, room, self.images + 1)
        low, high = np.floor(edges[:-1]), np.maximum(np.ceil(edges[1:]), np.floor(edges[:-1]) + 1)
        at = low + np.floor(rng.random(self.images) * (high - low))
        return np.minimum(at, room - 1).astype(np.int64)

    def views(self, total: int, views: int) -> np.ndarray:
        """Positions [V, F] for evaluation: of dense views, spread evenly; of others, shifted within the parts."""
        room = max(total - self.stack + 1, 1)
        if self.dense:
            starts = [(room - self.span) / 2] if views == 1 else np.linspace(0, max(room - self.span, 0), views)
            return np.stack([self._dense(int(np.floor(start)), room) for start in starts])
        within = (np.arange(views) + 0.5) / views
        at = np.floor((np.arange(self.images) + within[:, None]) * room / self.images)
        return np.minimum(at, room - 1).astype(np.int64)

    def stacked(self, at: np.ndarray, total: int) -> np.ndarray:
        """Positions [.., F, stack] of the images of every stack; beyond the end of the clip the last one repeats."""
        return np.minimum(at[..., None] + np.arange(self.stack), total - 1)

    @property
    def span(self) -> int:
        """Images from the first to the last of a dense view."""
        return (self.images - 1) * self.interval + 1

    def _dense(self, first: int, room: int) -> np.ndarray:
        # Beyond the ends of a short clip the image there repeats.
        return np.clip(first + self.interval * np.arange(self.images), 0, room - 1)


@dataclass(frozen=True)
class Crop:
    """A rectangle of an image."""

    row: int
    column: int
    rows: int
    columns: int

    def of(self, image: np.ndarray, side: int, mirrored: bool, flow: bool) -> np.ndarray:
        """The part of an image [Y, X, C] uint8, resized to side x side; mirrored flow turns its x around."""
        part = image[self.row : self.row + self.rows, self.column : self.column + self.columns]
        if part.shape[:2] != (side, side):
            part = resize(np.ascontiguousarray(part), (side, side), "bilinear")
        if not mirrored:
            return part
        part = part[:, ::-1]
        if not flow:
            return part
        turned = part.copy()
        turned[..., 0] = 255 - turned[..., 0]
        return turned


@dataclass(frozen=True)
class Cropping:
    """How training crops: the same rectangle of all images of a clip.

    "corners" (TSN): of the short side times one of `scales` for rows and one for columns, which lie at most `apart`
    places from each other in the list, at one of 13 places. "random": of `area` of the image and a ratio of sides, as
    torchvision's RandomResizedCrop. "centre": the largest square in the middle.
    """

    how: Literal["corners", "random", "centre"] = "corners"
    scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66)
    apart: int = 1
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def drawn(self, shape: tuple[int, int], rng: np.random.Generator) -> Crop:
        """A rectangle of images of so many rows and columns."""
        if self.how == "corners":
            return self._corner(shape, rng)
        if self.how == "random":
            return self._random(shape, rng)
        return centre(shape)

    def _corner(self, shape: tuple[int, int], rng: np.random.Generator) -> Crop:
        sizes = [max(int(min(shape) * scale), SHORTEST_SIDE) for scale in self.scales]
        count = len(sizes)
        pairs = [(sizes[h], sizes[w]) for h in range(count) for w in range(count) if abs(h - w) <= self.apart]
        rows, columns = pairs[int(rng.integers(len(pairs)))]
        down, across = PLACES[int(rng.integers(len(PLACES)))]
        return Crop((shape[0] - rows) // 4 * down, (shape[1] - columns) // 4 * across, rows, columns)

    def _random(self, shape: tuple[int, int], rng: np.random.Generator) -> Crop:
        for _ in range(10):
            area = shape[0] * shape[1] * rng.uniform(*self.area)
            ratio = np.exp(rng.uniform(*np.log(self.ratio)))
            rows, columns = round(np.sqrt(area / ratio)), round(np.sqrt(area * ratio))
            if SHORTEST_SIDE <= rows <= shape[0] and SHORTEST_SIDE <= columns <= shape[1]:
                row, column = int(rng.integers(shape[0] - rows + 1)), int(rng.integers(shape[1] - columns + 1))
                return Crop(row, column, rows, columns)
        return centre(shape)


# (row, column) of TSN's 13 crops, in quarters of the room: corners, centre, edges, quarters.
PLACES = (
    (0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (1, 3), (3, 1), (3, 3),
)  # fmt: skip


def centre(shape: tuple[int, int]) -> Crop:
    """The largest square in the middle."""
    side = min(shape)
    return Crop((shape[0] - side) // 2, (shape[1] - side) // 2, side, side)


def jittered(images: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Colours of a whole clip changed alike: brightness, contrast and saturation by factors in 1 +- strength.

    Args:
      images: [T, Y, X, 3] uint8.
      strength: 0 changes nothing.
      rng: draws the factors and their order.
    """
    x = images.astype(np.float32)
    for place in rng.permutation(len(JITTER_ORDER)):
        factor = np.float32(rng.uniform(max(0.0, 1 - strength), 1 + strength))
        grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
        part = JITTER_ORDER[place]
        anchor = {"brightness": np.float32(0), "contrast": grey.mean(), "saturation": grey[..., None]}[part]
        x = np.clip(anchor + factor * (x - anchor), 0, 255)
    return np.rint(x).astype(np.uint8)
