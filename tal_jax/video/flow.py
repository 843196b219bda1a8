"""Optical flow as files and networks have it: of grey images, in bytes, and read from the folders of denseflow."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from tal_jax.errors import InputError

GREY = (9798, 19235, 3735)  # of 32,768: OpenCV's shares of red, green and blue
SHIFT = 15
FILES = re.compile(r"flow_x_(\d+)\.jpg")


def grey(image: UInt8[np.ndarray, "Y X 3"]) -> UInt8[np.ndarray, "Y X"]:
    """An RGB image in grey, as OpenCV's COLOR_RGB2GRAY: 0.299 R + 0.587 G + 0.114 B in fixed point."""
    red, green, blue = (image[..., c].astype(np.int32) for c in range(3))
    return ((GREY[0] * red + GREY[1] * green + GREY[2] * blue + (1 << SHIFT - 1)) >> SHIFT).astype(np.uint8)


def to_bytes(flow: Float32[np.ndarray, "*shape"], bound: float) -> UInt8[np.ndarray, "*shape"]:
    """Pixels of motion as denseflow stores them: round(255 (v + bound) / (2 bound)), larger ones cut; 0 becomes 128."""
    scaled = (np.clip(flow, -bound, bound) + np.float32(bound)) * np.float32(255 / (2 * bound))
    return np.floor(scaled + np.float32(0.5)).astype(np.uint8)  # C's round, of what is not negative


def stored_fields(folder: Path) -> Iterator[UInt8[np.ndarray, "Y X 2"]]:
    """The fields of a folder that denseflow wrote, flow_x_00000.jpg and flow_y_00000.jpg, .., one after the other.

    Raises:
      InputError: there are none, one is missing, or a file is no grey JPEG, or of another size than the first.
    """
    from tal_jax.data.images import Images

    numbers = sorted(int(found[1]) for path in folder.glob("flow_x_*.jpg") if (found := FILES.fullmatch(path.name)))
    if not numbers:
        raise InputError(f"{folder}: holds no flow_x_00000.jpg: give the folder in which denseflow made one per video")
    shape: tuple[int, ...] | None = None
    for place, number in enumerate(numbers, numbers[0]):
        if number != place:
            raise InputError(f"{folder}: flow_x_{place:05d}.jpg is missing: extract the flow again")
        files = []
        for axis in "xy":
            path = folder / f"flow_{axis}_{number:05d}.jpg"
            try:
                files.append(path.read_bytes())
            except OSError as e:
                raise InputError(f"{path}: cannot be read ({e.strerror}): extract the flow again") from e
        try:
            field = Images(files, 2)[0]
        except ValueError as e:
            raise InputError(f"{folder}: field {number}: {e}: extract the flow again") from e
        if shape is not None and field.shape != shape:
            raise InputError(f"{folder}: field {number} is {field.shape[:2]}, the first one {shape[:2]}: extract again")
        shape = field.shape
        yield field
