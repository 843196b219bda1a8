"""A video with labels written into its images while their segments last, for looking at what was found."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from tal_jax.data import atomic
from tal_jax.errors import InputError
from tal_jax.video.decode import Video, av

CLOCK = 90_000  # ticks of a second, as MPEG has
MOST = 4  # lines in an image


def check(path: str | Path) -> None:
    """Raises InputError where the file's ending is another than that of the one format."""
    if Path(path).suffix.lower() != ".mp4":
        raise InputError(f"--annotated={path}: the video is written as .mp4")


def write(source: str | Path, path: str | Path, shown: Sequence[tuple[float, float, str, float]]) -> None:
    """Writes an MP4 (H.264, without sound) of the same images at the same times.

    Args:
      source: the video.
      path: the file to write.
      shown: start and end in seconds, label and score; the best four of every moment are written.

    Raises:
      InputError: `path` is no MP4, or see `Video.shown`.
      OSError: the disk is full.
    """
    check(path)
    package = av()
    with atomic.writing(path) as temporary, package.open(str(temporary), "w", format="mp4") as file:
        stream = None
        for image in Video(str(source)).shown():
            pixels = image.rgb()
            pixels = pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2]  # the codec wants even sizes
            if stream is None:
                stream = file.add_stream("libx264", rate=Fraction(30), options={"crf": "23", "preset": "veryfast"})
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.time_base = stream.codec_context.time_base = Fraction(1, CLOCK)
            frame = package.VideoFrame.from_ndarray(drawn(pixels, float(image.time), shown), format="rgb24")
            frame.pts, frame.time_base = round(image.time * CLOCK), Fraction(1, CLOCK)
            file.mux(stream.encode(frame))
        assert stream is not None
        file.mux(stream.encode(None))


def drawn(image: np.ndarray, time: float, shown: Sequence[tuple[float, float, str, float]]) -> np.ndarray:
    """An image [Y, X, 3] with the labels of a moment in its lower left corner, and a bar for how far each one is."""
    from PIL import Image, ImageDraw, ImageFont

    now = sorted((s for s in shown if s[0] <= time < s[1]), key=lambda s: -s[3])[:MOST]
    if not now:
        return np.ascontiguousarray(image)
    picture = Image.fromarray(np.ascontiguousarray(image))
    draw = ImageDraw.Draw(picture, "RGBA")
    size = max(10, len(image) // 20)
    font = ImageFont.load_default(size)
    for i, (start, end, label, score) in enumerate(reversed(now)):
        top = len(image) - (i + 1) * round(1.6 * size)
        text = f"{label} {score:.2f}"
        width = round(draw.textlength(text, font=font)) + size
        draw.rectangle((0, top, width, top + round(1.5 * size)), fill=(0, 0, 0, 170))
        far = round(width * (time - start) / max(end - start, 1e-9))
        draw.rectangle((0, top + round(1.35 * size), far, top + round(1.5 * size)), fill=(255, 200, 0, 255))
        draw.text((size // 2, top + size // 8), text, font=font, fill=(255, 255, 255, 255))
    return np.asarray(picture)
