"""Small video files whose images tell their number: what a decoder returns is checked against what was written."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

BITS = 10
SQUARE = 16  # pixels of a bit: large enough to survive any codec
ROWS, COLUMNS = 48, SQUARE * BITS  # smallest image that holds a number


def numbered(k: int, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """An image [rows, columns, 3] whose upper squares are the bits of k; its lower half is brighter at the left."""
    image = np.full((rows, columns, 3), 60, np.uint8)
    for bit in range(BITS):
        image[:SQUARE, SQUARE * bit : SQUARE * (bit + 1)] = 235 if k >> bit & 1 else 16
    image[rows // 2 :, : columns // 2] = 200
    return image


def number(image: np.ndarray) -> int:
    """The number that `numbered` drew."""
    squares = image[:SQUARE, : SQUARE * BITS].astype(float).mean(axis=(0, 2)).reshape(BITS, SQUARE)
    return sum(1 << bit for bit, value in enumerate(squares[:, 4:-4].mean(axis=1)) if value > 125)


def write(
    path: Path,
    times: Sequence[float],
    *,
    codec: str = "mpeg4",
    format: str | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    clock: int = 3000,
    draw: Callable[[int], np.ndarray] = numbered,
    sound: bool = False,
) -> Path:
    """Writes a video whose image k is `draw(k)`, shown from times[k] seconds on, to a `clock`-th of a second."""
    import av

    with av.open(str(path), "w", format=format, container_options=container or {}) as file:
        stream = file.add_stream(codec, rate=Fraction(30), options=options or {})
        first = draw(0)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, clock)
        audio = file.add_stream("aac", rate=8000, layout="mono") if sound else None
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(draw(k), format="rgb24")
            frame.pts, frame.time_base = round(time * clock), Fraction(1, clock)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if audio is not None:
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
            tone.sample_rate, tone.pts = 8000, 0
            file.mux(audio.encode(tone))
            file.mux(audio.encode(None))
    return path


def regular(count: int, rate: float = 30.0, start: float = 0.0) -> list[float]:
    """Times of a constant rate."""
    return [start + k / rate for k in range(count)]


def with_rotation(path: Path, degrees: int) -> Path:
    """The same MP4 with the matrix in its track header that asks players to turn it counter-clockwise by `degrees`."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    one = 1 << 16
    a, b = {0: (one, 0), 90: (0, -one), 180: (-one, 0), 270: (0, one)}[degrees]
    matrix = np.array([a, b, 0, -b, a, 0, 0, 0, 1 << 30], ">i4").tobytes()
    data[at + 40 : at + 76] = matrix  # after version, times, id, duration, layer, volume: ISO/IEC 14496-12, 8.3.2
    turned = path.with_name(f"turned{degrees}.mp4")
    turned.write_bytes(data)
    return turned


def picture(path: Path, count: int = 1, format: str | None = None) -> Path:
    """A file of pictures, PNG, JPEG, GIF or another: one that lies still, or several that move, ten a second."""
    from PIL import Image

    first, *others = [Image.fromarray(numbered(5 + k)) for k in range(count)]
    moving = {"save_all": True, "append_images": others, "duration": 100} if others else {}
    first.save(path, format, **moving)
    return path


def sound(path: Path) -> None:
    """A file that holds sound alone."""
    import av

    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=8000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        tone.sample_rate, tone.pts = 8000, 0
        file.mux(stream.encode(tone))
        file.mux(stream.encode(None))
