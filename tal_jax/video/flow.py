"""Optical flow as it is stored: the grey images it is computed from, its bytes, and folders that denseflow wrote."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from tal_jax.errors import InputError
from tal_jax.video.decode import MAX_PIXELS, av

# Pixels to which motion is clipped. Public two-stream checkpoints (TSN, I3D) were trained with 20, whatever the motion;
# denseflow's own default is 32.
BOUND = 20.0
NAME = re.compile(r"flow_([xy])_(\d{5,7})\.jpg")
# Red, green and blue in 1/32768, ITU-R BT.601: cv2.cvtColor since release 4.
RED, GREEN, BLUE, SHIFT = 9798, 19235, 3735, 15


def grey(image: UInt8[np.ndarray, "*F Y X 3"], order: str = "RGB") -> UInt8[np.ndarray, "*F Y X"]:
    """The grey image that OpenCV makes of one in colour, to the last bit; `order` is RGB or BGR."""
    weights = {"RGB": (RED, GREEN, BLUE), "BGR": (BLUE, GREEN, RED)}[order]
    red, green, blue = (weight * image[..., k].astype(np.uint32) for k, weight in enumerate(weights))
    total = red + green + blue
    return ((total + (1 << SHIFT - 1)) >> SHIFT).astype(np.uint8)


def to_bytes(flow: Float[np.ndarray, "*F Y X 2"], bound: float = BOUND) -> UInt8[np.ndarray, "*F Y X 2"]:
    """Flow in 256 steps from -bound to bound, as denseflow stores it: no motion is 128, larger motion is clipped.

    round(255 (v + b) / 2b), halves to the even number. I3D's is the same with bound 20, and the network then sees
    steps / 127.5 - 1. Vectors are in pixels of the images that they were computed from, and nobody changes their length
    when these images are resized later.
    """
    steps = 255 * (flow.astype(np.float64) + bound) / (2 * bound)
    return np.rint(np.clip(steps, 0, 255)).astype(np.uint8)


def stored(folder: str | os.PathLike) -> Iterator[UInt8[np.ndarray, "Y X 2"]]:
    """The flow that denseflow stored of a video: flow_x_00000.jpg, flow_y_00000.jpg and so on, x first.

    All names are looked at before the first image is read.

    Raises:
      InputError: no such folder; images are missing, damaged, in colour, or of several sizes.
    """
    place = Path(folder)
    return _images(place, _count(place))


def _count(folder: Path) -> int:
    try:
        names = os.listdir(folder)
    except OSError as e:
        raise InputError(f"{folder}: {e.strerror}: give the folder that denseflow wrote for a video") from e
    numbers: dict[str, set[int]] = {"x": set(), "y": set()}
    for name in names:
        if match := NAME.fullmatch(name):
            numbers[match[1]].add(int(match[2]))
    either = numbers["x"] | numbers["y"]
    if not either:
        raise InputError(f"{folder}: no flow_x_00000.jpg in it: give the folder that denseflow wrote for a video")
    for number in range(max(either) + 1):
        for component, found in numbers.items():
            if number not in found:
                raise InputError(
                    f"{folder}: {_name(component, number)} is missing, of images 0 to {max(either)}: extract them again"
                )
    return len(either)


def _name(component: str, number: int) -> str:
    return f"flow_{component}_{number:05d}.jpg"


def _images(folder: Path, count: int) -> Iterator[UInt8[np.ndarray, "Y X 2"]]:
    size = None
    for number in range(count):
        x, y = (_read(folder / _name(component, number)) for component in "xy")
        size = size or x.shape
        for component, image in (("x", x), ("y", y)):
            if image.shape != size:
                raise InputError(
                    f"{folder / _name(component, number)}: {image.shape[1]} x {image.shape[0]} pixels, where the first "
                    f"image has {size[1]} x {size[0]}: extract the flow again"
                )
        yield np.stack([x, y], axis=-1)


def _read(path: Path) -> UInt8[np.ndarray, "Y X"]:
    av()  # the extra, or an error that names it
    from PIL import Image

    try:
        with open(path, "rb") as file, Image.open(file, formats=("JPEG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"{path}: {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} possible"
                )
            if image.mode != "L":
                raise InputError(f"{path}: an image in colour ({image.mode}), where flow is grey: extract it again")
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        if isinstance(e, InputError):
            raise
        reason = (e.strerror if isinstance(e, OSError) else None) or "no JPEG image, or a damaged one"
        raise InputError(f"{path}: {reason}: extract the flow again") from e
