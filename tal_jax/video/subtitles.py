"""Detections as subtitles, which every player shows over the video: WebVTT or SubRip, by the file's ending."""

from collections.abc import Iterable
from pathlib import Path

from tal_jax.data import atomic
from tal_jax.errors import InputError

SUFFIXES = (".vtt", ".srt")
Shown = tuple[float, float, str, float]  # start and end in seconds, label, score


def check(path: str | Path) -> None:
    """Raises InputError where the ending is of neither format."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"--subtitles={path}: subtitles end in {' or '.join(SUFFIXES)}")


def write(path: str | Path, detections: Iterable[Shown]) -> None:
    """Writes detections, the earliest first. Raises InputError, see `check`; OSError: the disk is full."""
    check(path)
    atomic.write(path, text(detections, web=Path(path).suffix.lower() == ".vtt").encode())


def text(detections: Iterable[Shown], *, web: bool) -> str:
    """The content of a file, WebVTT or SubRip. Lines are separated by what no label can hold."""
    lines = ["WEBVTT", ""] if web else []
    for number, (start, end, label, score) in enumerate(sorted(detections), start=1):
        if web:
            label = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        else:
            label = label.replace("-->", "->")
        times = f"{_time(start, web)} --> {_time(end, web)}"
        lines += [*([] if web else [str(number)]), times, f"{label} {score:.2f}", ""]
    return "\n".join(lines) + ("" if lines and lines[-1] == "" else "\n")


def _time(seconds: float, web: bool) -> str:
    milliseconds = round(max(seconds, 0.0) * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{'.' if web else ','}{rest % 1000:03d}"
