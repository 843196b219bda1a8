"""Decoding a video file: one pass from its first image to its last, each with the time at which it is shown."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from types import ModuleType
from typing import Any, Literal

import numpy as np

from tal_jax.errors import InputError

EXTRA = "needs PyAV and Pillow, the extra video: pip install 'tal_jax[video]'"
# Containers of FFmpeg that hold their images themselves. Others are pictures, or lists of other files and addresses,
# which a file that came from elsewhere must not have opened.
FORMATS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "mpegts", "mpeg", "mpegvideo", "avi", "flv", "asf",
    "ogg", "gif", "mxf", "nut", "h264", "hevc", "m4v", "rm", "ivf", "dv", "wtv", "swf", "obu", "av1",
)  # fmt: skip
Times = Literal["stamps", "index"]
MAX_RATE = 1000
WHOLE = 0.95  # of the length that a header says: whole files end a few images earlier
MAX_PIXELS = 1 << 26  # of an image: 8,192 x 8,192


@dataclass(frozen=True)
class Shown:
    """One image of a video."""

    time: Fraction  # seconds since the first image
    frame: Any  # PyAV's, not yet converted to RGB
    turns: int  # quarter turns that it takes to stand upright, counter-clockwise

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image upright."""
        rows, columns = self.frame.height, self.frame.width
        return (columns, rows) if self.turns % 2 else (rows, columns)

    def rgb(self, shape: tuple[int, int] | None = None) -> np.ndarray:
        """The image upright: [Y, X, 3] uint8; in another shape by FFmpeg's bicubic filter."""
        frame = self.frame
        if shape is not None:
            rows, columns = shape[::-1] if self.turns % 2 else shape
            frame = frame.reformat(columns, rows, "rgb24", interpolation="BICUBIC")
        pixels = frame.to_ndarray(format="rgb24")
        return np.rot90(pixels, self.turns) if self.turns else pixels


@dataclass
class Video:
    """A video file that is being decoded; what was seen of it stands here when its images have all been taken.

    `times` says when an image is shown: "stamps", at its presentation time stamp minus the first one; "index", image n
    at n / mean rate, as most published extractors count, which is off by some images where a file's rate varies.
    """

    path: str
    times: Times = "stamps"
    images: int = 0  # decoded so far
    seconds: Fraction = Fraction(0)  # from the first image until the last one is no longer shown
    notes: list[str] = field(default_factory=list)  # of damage, for whoever reads the features
    rate: Fraction | None = None  # images a second that were taken of it, once that is decided

    def __post_init__(self) -> None:
        av()  # by whoever makes it: threads that decode at the same time import nothing

    def own_rate(self, otherwise: str = "give --rate=IMAGES_A_SECOND") -> Fraction:
        """Images a second as its header says, for a grid on which every image has its point.

        Args:
          otherwise: what to do where it says none.

        Raises:
          InputError: see `shown`; the header says nothing, or what no camera does.
        """
        with _opened(self.path, 1) as (_, stream):
            rate = stream.average_rate or stream.guessed_rate
        if rate is None or not 1 <= rate <= MAX_RATE:
            said = "no rate" if rate is None else f"{float(rate):.3g} images a second"
            raise InputError(f"{self.path}: its header says {said}: {otherwise}")
        return Fraction(rate)

    def header_seconds(self) -> float:
        """The length that the header says, for estimates; 0 where it says none or cannot be read."""
        try:
            with _opened(self.path, 1) as (container, _):
                return max(0.0, (container.duration or 0) / 1e6)
        except InputError:
            return 0.0

    def shown(self, *, strict: bool = False, threads: int = 0) -> Iterator[Shown]:
        """Decodes the file from its beginning to its end, in constant memory.

        By time stamps: headers count wrongly, containers start late, and rates vary. A decoder is never sent to a place
        in the file, where it would land on another image.

        Args:
          strict: damage is an error; otherwise it ends the video, and is noted.
          threads: of the decoder; 0 for as many as there are cores.

        Yields:
          Images in the order of their times; one without a later time than those before is noted and left out.

        Raises:
          InputError: no such file, no video stream, a single image, or one of too many pixels; with `strict` also
            damage; or by index, see `own_rate`.
        """
        rate = self.own_rate("take its images by their time stamps") if self.times == "index" else None
        with _opened(self.path, threads) as (container, stream):
            first, last, gap, turns = None, None, Fraction(0), None
            dropped = 0
            for frame in self._frames(container, stream, strict):
                if frame.pts is None:
                    dropped += 1
                    continue
                at = frame.pts * Fraction(frame.time_base)
                if last is not None and at <= last:
                    dropped += 1
                    continue
                if turns is None:
                    turns = self._turns(frame)
                if frame.width * frame.height > MAX_PIXELS:
                    raise InputError(f"{self.path}: an image of {frame.width} x {frame.height}: make it smaller")
                if last is not None:
                    gap = at - last
                first, last = (at if first is None else first), at
                self.images += 1
                # The last image is shown as long as it says, or as the one before.
                lasts = frame.duration * Fraction(frame.time_base) if frame.duration else gap
                self.seconds = at - first + (lasts or gap or _nominal(stream))
                time = at - first
                if rate is not None:
                    time, self.seconds = (self.images - 1) / rate, self.images / rate
                yield Shown(time, frame, turns)
            if dropped:
                self._damage(f"{dropped} images without a time of their own were left out", strict)
        if not self.images:
            raise InputError(f"{self.path}: no image of it can be decoded: give a whole file, or another one")
        if self.images == 1:  # a GIF or an AVIF that lies still, or a file that broke off
            why = "".join(f" ({note})" for note in self.notes[:1])
            raise InputError(
                f"{self.path}: only one image of it can be decoded{why}, which has no duration: give a whole file, or "
                "another one"
            )

    def _frames(self, container: Any, stream: Any, strict: bool) -> Iterator[Any]:
        """Frames until the end, or until what cannot be decoded any more."""
        errors = av().error
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames)
            except StopIteration:
                break
            except (errors.FFmpegError, EOFError, OSError) as e:
                self._damage(f"not decodable after image {self.images} ({reason(e)})", strict)
                return
            if frame.is_corrupt:
                self._damage(f"image {self.images} is damaged", strict)
            yield frame
        # A file cut between two images ends without an error: only its header says that more was there.
        declared = _declared(container, stream, self.images)
        if self.seconds < WHOLE * declared:
            self._damage(f"ends at {float(self.seconds):.2f} s where its header says {declared:.2f} s", strict)

    def _damage(self, note: str, strict: bool) -> None:
        if strict:
            raise InputError(f"{self.path}: {note}: copy it again, or do without --strict")
        if note not in self.notes and len(self.notes) < 20:
            self.notes.append(note)

    def _turns(self, frame: Any) -> int:
        """Phones write images as the sensor lies, and beside them how to turn them."""
        degrees = round(frame.rotation or 0)
        if degrees % 90:
            self.notes.append(f"it asks to be turned by {degrees} degrees, which is left undone")
            return 0
        return degrees // 90 % 4


def _declared(container: Any, stream: Any, images: int) -> float:
    """Seconds of the images as the header says; 0 where none says so, as FFmpeg guesses by the size of the file."""
    name = container.format.name
    if "mp4" in name or name == "mxf":
        # MP4's count is one more than what can be decoded in many whole files.
        counted = stream.frames > images + 1 or name == "mxf"
        return float(stream.duration * stream.time_base) if stream.duration and counted else 0.0
    if "matroska" not in name and name != "flv":
        return 0.0
    # The end of each stream stands in a tag, "00:00:06.667000000"; the file's end may be that of its sound.
    parts = (stream.metadata.get("DURATION") or "").split(":")
    end = 0.0
    if len(parts) == 3:
        with contextlib.suppress(ValueError):
            end = 3600 * float(parts[0]) + 60 * float(parts[1]) + float(parts[2])
    elif len(container.streams) == 1:
        end = (container.duration or 0) / 1e6
    return max(0.0, end - float((stream.start_time or 0) * stream.time_base))


def _nominal(stream: Any) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate
    return 1 / Fraction(rate) if rate else Fraction(0)


@contextlib.contextmanager
def _opened(path: str, threads: int) -> Iterator[tuple[Any, Any]]:
    package = av()
    try:
        # The name is absolute so that it is never taken for an address such as http: or concat:.
        container = package.open(
            os.path.abspath(path), metadata_errors="replace", options={"format_whitelist": ",".join(FORMATS)}
        )
    except (package.error.FFmpegError, OSError, ValueError) as e:
        raise InputError(f"{path}: no video that can be read ({reason(e)}): check the file, or give another one") from e
    with container:
        streams = [s for s in container.streams.video if not _is_cover(s, package)]
        if not streams:
            held = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise InputError(f"{path}: holds no video stream (but {held}): give a file that has one")
        stream = streams[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        yield container, stream


def _is_cover(stream: Any, package: ModuleType) -> bool:
    return bool(stream.disposition & package.stream.Disposition.attached_pic)


def reason(error: Exception) -> str:
    """What FFmpeg says of an error, without the number and the name of the file."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:200]


def av() -> ModuleType:
    """PyAV, imported with all that it and Pillow import later. Raises InputError where the extra is not installed."""
    try:
        import av as package
        import av.subtitles.stream
        import PIL.Image
        import PIL.ImageFile  # noqa: F401
    except ImportError as e:
        raise InputError(f"videos: {EXTRA}") from e
    return package
