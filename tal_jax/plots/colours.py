"""One colour for each class, the same in all pictures and in the report: a function of the data set's classes alone."""

import functools
from collections.abc import Iterable

import numpy as np

# Okabe and Ito's colours, which colour-blind people can tell apart, then more of the same strength.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8B5E3C", "#6A51A3", "#7F7F00", "#C51B7D")
NO_CLASS = "#808080"
DISTINCT = 256  # colours before they repeat: THUMOS14 has 20 classes, HACS and ActivityNet have 200
LIGHTNESS = (0.4, 0.8)  # of 1: seen on white, and not taken for the black and grey of lines
CHROMA = (0.07, 0.22)  # of about 0.3: neither grey, which is NO_CLASS, nor louder than COLOURS


def label_colours(classes: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """The colours of all classes, whichever of them a picture shows: alphabetically, the first gets the first colour.

    Args:
      classes: names of all classes of the data set, in any order; the same names give the same colours.
      others: further names, such as classes that only a system of detections has; they change no colour of `classes`.

    Returns:
      name -> "#RRGGBB", all different up to DISTINCT names.
    """
    known = sorted(set(classes))
    names = [*known, *sorted({*others} - {*known})]
    colours = COLOURS if len(names) <= len(COLOURS) else _distinct()
    return {name: colours[i % len(colours)] for i, name in enumerate(names)}


def remark(names: Iterable[str]) -> str:
    """Says that colours repeat, where there are more names than colours; "" otherwise."""
    count = len(set(names))
    return f"{count} classes share {DISTINCT} colours, in the order of their names." if count > DISTINCT else ""


@functools.cache
def _distinct() -> tuple[str, ...]:
    """DISTINCT colours: COLOURS, then again and again the one farthest from those before it, as the eye sees it."""
    levels = np.linspace(0, 255, 18).round()
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    seen = _oklab(rgb)
    lightness, chroma = seen[:, 0], np.hypot(seen[:, 1], seen[:, 2])
    usable = (lightness >= LIGHTNESS[0]) & (lightness <= LIGHTNESS[1]) & (chroma >= CHROMA[0]) & (chroma <= CHROMA[1])
    rgb, seen = rgb[usable], seen[usable]
    found = [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS]
    distance = np.min([np.linalg.norm(seen - one, axis=1) for one in _oklab(np.array(found, np.float64))], axis=0)
    while len(found) < DISTINCT:
        best = int(distance.argmax())
        found.append(tuple(int(level) for level in rgb[best]))
        distance = np.minimum(distance, np.linalg.norm(seen - seen[best], axis=1))
    return tuple("#" + bytes(colour).hex().upper() for colour in found)


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB [N, 3] in 0..255 as OKLab (Ottosson 2020): lightness and two axes of hue, with distance as seen."""
    x = rgb / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [[0.4122214708, 0.2119034982, 0.0883024619],
         [0.5363325363, 0.6806995451, 0.2817188376],
         [0.0514459929, 0.1073969566, 0.6299787005]]
    )  # fmt: skip
    return np.cbrt(cones) @ np.array(
        [[0.2104542553, 1.9779984951, 0.0259040371],
         [0.7936177850, -2.4285922050, 0.7827717662],
         [-0.0040720468, 0.4505937099, -0.8086757660]]
    )  # fmt: skip
