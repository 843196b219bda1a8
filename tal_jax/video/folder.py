"""The videos of a folder by id: a file's name without its ending."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tal_jax import words
from tal_jax.errors import InputError

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv", ".asf",
    ".3gp", ".3g2", ".ogv", ".mxf", ".vob", ".gif", ".nut",
)  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """What was found."""

    videos: Mapping[str, Path]  # by id, in the order of ids
    refused: Mapping[str, InputError]  # by id: those that cannot be told apart, or named


def find(source: str | os.PathLike, flag: str = "--videos") -> Folder:
    """Finds the videos of a folder, or takes a single file; `flag` named it, for errors.

    Raises:
      InputError: no such file or folder, or no video in it.
    """
    path = Path(source)
    if path.is_file():
        return Folder({path.stem: path}, {})
    try:
        names = sorted(os.listdir(path))
    except OSError as e:
        raise InputError(f"{flag}={source}: {e.strerror}: give a folder of videos, or one video") from e
    found: dict[str, list[str]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES and not (path / name).is_dir():
            found.setdefault(stem, []).append(name)
    if not found:
        raise InputError(
            f"{flag}={source}: no video in it; files are known by endings such as {' '.join(SUFFIXES[:5])}"
        )
    refused = {}
    for id, files in found.items():
        if len(files) > 1:
            refused[id] = InputError(f"{path}: record {id}: it has {' and '.join(files)}: keep one of them")
        elif fault := words.fault(id):
            refused[id] = InputError(f"{path}: record {words.quoted(id)} cannot be an id, {fault}: rename the file")
    return Folder({id: path / files[0] for id, files in sorted(found.items()) if id not in refused}, refused)
