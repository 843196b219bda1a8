"""The images of a clip in a packed set: JPEG files, decoded one by one when they are asked for."""

import functools
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from tal_jax.errors import InputError

JPEG = "jpeg"  # how such a stream is stored, in place of a type of numbers
EXTRA = "images need Pillow, the extra video: pip install 'tal_jax[video]'"
CHANNELS = {2: 1, 3: 3}  # of an image -> of each of its files: a flow field is two grey ones, x and y
QUALITY = 90  # of what is packed
MAX_PIXELS = 1 << 24


class Images:
    """T images of C channels: 3 of RGB, or 2 of a flow field, whose x and y are a file each, in this order."""

    def __init__(self, files: Sequence[bytes], channels: int):
        """Takes the files as stored. Raises ValueError: a flow field lacks its second file, or no such channels."""
        if channels not in CHANNELS:
            raise ValueError(f"images of {channels} channels: there are some of {' and '.join(map(str, CHANNELS))}")
        self._each = channels // CHANNELS[channels]
        if len(files) % self._each:
            raise ValueError(f"{len(files)} files are no whole flow fields")
        self.files, self.shape = files, (len(files) // self._each, channels)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, i: int) -> np.ndarray:
        """Image i: [Y, X, C] uint8. Raises IndexError: no image i; ValueError: a file is damaged."""
        i = range(len(self))[i]
        parts = [_decoded(file) for file in self.files[i * self._each : (i + 1) * self._each]]
        if any(part.shape[2] != CHANNELS[self.shape[1]] or part.shape != parts[0].shape for part in parts):
            raise ValueError(f"image {i} is not one of {self.shape[1]} channels")
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def files_of(image: np.ndarray, quality: int = QUALITY) -> list[bytes]:
    """The JPEG files of an image [Y, X, C] uint8; the same bytes for the same image."""
    grey = image.shape[2] == 2
    parts = [image[..., c] for c in range(2)] if grey else [image]
    return [_encoded(part, quality) for part in parts]


def _encoded(pixels: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    pillow().fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _decoded(file: bytes) -> np.ndarray:
    try:
        with pillow().open(io.BytesIO(file), formats=("JPEG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"an image of {image.width} x {image.height}")
            pixels = np.asarray(image)
    except (OSError, SyntaxError) as e:
        raise ValueError(f"an image that cannot be decoded ({e!s:.80})") from e
    return pixels[..., None] if pixels.ndim == 2 else pixels


@functools.cache
def pillow() -> Any:
    """Pillow's module Image, with what it imports later. Raises InputError where the extra is not installed."""
    try:
        import PIL.JpegImagePlugin  # noqa: F401
        from PIL import Image
    except ImportError as e:
        raise InputError(EXTRA) from e
    return Image
