"""What a family of encoders wants done to an image before it sees it: resizing and cropping, colour order and range.

The first half runs on the host and ends in small images of bytes; the second runs on the device, where a byte costs a
quarter of a float32 to send.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from tal_jax.types import Array
from tal_jax.video.decode import Shown

Filter = Literal["bilinear", "bilinear-antialiased", "bicubic-antialiased", "bicubic-ffmpeg"]


@dataclass(frozen=True)
class Preprocessing:
    """From an RGB image of bytes to what a network was trained on: resized, cropped, `(x / scale - mean) / std`.

    Mixing these up is the most frequent silent fault of features, so they are data, of one family each.
    """

    side: int  # rows and columns that the network sees
    short_side: int | None  # the image's is resized to it, in proportion; None: all of it is squeezed to `side`
    mean: tuple[float, ...]  # per channel, after `scale`; of flow, for x and y of a field, before fields are stacked
    std: tuple[float, ...]
    scale: float = 255.0  # bytes are divided by it
    order: Literal["RGB", "BGR"] = "RGB"  # of the channels, and of mean and std
    # OpenCV's and PyTorch's interpolation reads 2 x 2 pixels; Pillow's and torchvision's averages what it shrinks, and
    # so does FFmpeg's (`ffmpeg -vf scale`, PyAV's `reformat`), before it makes RGB of the file's colours.
    filter: Filter = "bilinear"
    size: tuple[int, int] | None = None  # rows and columns to resize to before the crop, in place of `short_side`
    crop: Literal["centre", "ten"] = "centre"  # ten: corners and centre, each also mirrored

    def __post_init__(self):
        if self.short_side is not None and self.size is not None:
            raise ValueError("give short_side or size, not both")
        smallest = min(self.size) if self.size is not None else self.short_side
        if smallest is not None and smallest < self.side:
            raise ValueError(f"a crop of {self.side} does not fit into images resized to {smallest}")
        if not len(self.mean) == len(self.std) in (2, 3):
            raise ValueError("mean and std need a number for each of three channels, or for x and y of flow")

    @property
    def crops(self) -> int:
        """How many crops are taken of an image."""
        return 10 if self.crop == "ten" else 1

    def resized_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns after resizing, before cropping. The long side is rounded, halves up, and never cut off."""
        if self.size is not None:
            return self.size
        if self.short_side is None:
            return self.side, self.side
        return in_proportion(self.short_side, rows, columns)

    def of_video(self, image: Shown) -> UInt8[np.ndarray, "N side side 3"]:
        """Resizes and crops one image of a video, N crops of it."""
        by_ffmpeg = self.filter == "bicubic-ffmpeg"
        return self.on_host(image.rgb(self.resized_shape(*image.shape) if by_ffmpeg else None))

    def on_host(self, image: UInt8[np.ndarray, "Y X 3"]) -> UInt8[np.ndarray, "N side side 3"]:
        """Resizes and crops one image, N crops of it; the channels stay in the order of the file, RGB."""
        resized = resize(image, self.resized_shape(*image.shape[:2]), self.filter)
        return np.stack([crop(resized, self.side, place) for place in PLACES[self.crop]])

    def on_device(self, images: UInt8[Array, "*B side side C"]) -> Float32[Array, "*B side side C"]:
        """Orders, scales and normalises, in JAX."""
        if self.order == "BGR":
            images = images[..., ::-1]
        scaled = images.astype(jnp.float32) / jnp.float32(self.scale)
        axes = (1,) * (images.ndim - 1) + (-1,)
        mean, std = (jnp.asarray(x, jnp.float32).reshape(axes) for x in (self.mean, self.std))
        return (scaled - mean) / std


def in_proportion(short_side: int, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of an image whose shorter side becomes `short_side`; the other is rounded, halves up."""
    short = min(rows, columns)
    return tuple(short_side if n == short else (2 * n * short_side + short) // (2 * short)
                 for n in (rows, columns))  # type: ignore[return-value]  # fmt: skip


# (row, column, mirrored) of a crop, in halves of the room there is.
_FIVE = ((0, 0), (0, 2), (2, 0), (2, 2), (1, 1))
PLACES: dict[str, Sequence[tuple[int, int, bool]]] = {
    "centre": [(1, 1, False)],
    "ten": [(*place, mirrored) for mirrored in (False, True) for place in _FIVE],
}


def resize(
    image: UInt8[np.ndarray, "Y X C"], shape: tuple[int, int], filter: Filter
) -> UInt8[np.ndarray, "rows columns C"]:
    """Resizes an image to (rows, columns); pixel centres lie at half integers, as in OpenCV, PyTorch and Pillow.

    Args:
      image: of bytes, RGB or a flow field.
      shape: rows and columns of the result.
      filter: how pixels in between are made; see `Preprocessing`.

    Raises:
      ValueError: by FFmpeg only images of videos are resized, see `Shown.rgb`.
    """
    if image.shape[:2] == shape:
        return image
    if filter == "bicubic-ffmpeg":
        raise ValueError("FFmpeg resizes images of videos, before they are RGB")
    if filter == "bilinear":
        return _interpolated(image, shape)
    from PIL import Image

    kind = Image.Resampling.BILINEAR if filter == "bilinear-antialiased" else Image.Resampling.BICUBIC
    if image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize(shape[::-1], kind))
    parts = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[2])]
    return np.stack([np.asarray(part.resize(shape[::-1], kind)) for part in parts], axis=2)


def _interpolated(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Of the 2 x 2 pixels around each point; Pillow has no such filter for shrinking that rounds to the nearest."""
    (upper, lower, down), (left, right, across) = (_taps(n, m) for n, m in zip(image.shape[:2], shape, strict=True))
    down, across = down[:, None, None], across[:, None]
    top, bottom = np.take(image, upper, axis=0), np.take(image, lower, axis=0)
    lines = [np.take(line, side, axis=1).astype(np.float32) for line in (top, bottom) for side in (left, right)]
    above, below = (a + across * (b - a) for a, b in (lines[:2], lines[2:]))
    return np.rint(above + down * (below - above)).astype(np.uint8)


def _taps(pixels: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels on both sides of each point, and how far it lies from the first towards the second; ends repeat."""
    at = np.clip((np.arange(out) + 0.5) * (pixels / out) - 0.5, 0, pixels - 1)
    first = at.astype(np.int64)
    return first, np.minimum(first + 1, pixels - 1), (at - first).astype(np.float32)


def crop(
    image: UInt8[np.ndarray, "Y X 3"], side: int, place: tuple[int, int, bool]
) -> UInt8[np.ndarray, "side side 3"]:
    """Cuts a square out of an image: `place` is its row, its column, in halves of the room, and whether it is mirrored.

    Where the room is odd, the centre lies half a pixel to the top and left.
    """
    row, column = ((n - side) * half // 2 for n, half in zip(image.shape[:2], place[:2], strict=True))
    cut = image[row : row + side, column : column + side]
    return cut[:, ::-1] if place[2] else cut
