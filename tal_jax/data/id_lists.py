"""Lists of recordings that users write: files of one id a line or JSON, and which recordings their lines mean."""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from tal_jax.data.json_files import parse_json
from tal_jax.errors import InputError
from tal_jax.tables.text_files import read_text
from tal_jax.words import nearest, quoted, shown

# What lists of files have behind an id; ids may hold other dots.
EXTENSIONS = (
    ".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".mpg", ".mpeg", ".wmv", ".3gp", ".ts", ".npy", ".npz",
    ".h5", ".hdf5", ".csv", ".tsv", ".json", ".txt", ".pkl", ".pt", ".pth", ".mat", ".parquet", ".wav", ".jpg", ".png",
)  # fmt: skip
HEADERS = ("id", "ids", "video", "video_id", "video-id", "video_name", "name", "filename", "file", "recording")
EXAMPLES = 5  # unmatched ids whose nearest recording is looked for


class Found(NamedTuple):
    """Which recordings a list means."""

    ids: frozenset[str]
    unmatched: tuple[str, ...]  # entries that mean none, as they are written


def read(path: str | os.PathLike, flag: str) -> tuple[str, ...]:
    """The entries of a list: a text of one id a line, where blank lines and comments (#) do not count, or a JSON list.

    Args:
      path: the file to read.
      flag: the flag that named it, for messages.

    Raises:
      InputError: the file cannot be read, its JSON is not a list of texts, or it has no entry.
    """
    text = read_text(path, flag)
    if text.lstrip()[:1] in ("[", "{"):
        listed = parse_json(path, text)
        if not isinstance(listed, list) or not all(isinstance(key, str) for key in listed):
            raise InputError(f"{path}: expected a list of ids: write one id on each line, or a JSON list")
        entries = [key.strip() for key in listed]
    else:
        entries = [line.strip() for line in text.splitlines()]
        entries = [re.split(r"\s#", line)[0].strip() for line in entries if not line.startswith("#")]
        if len(entries) > 1 and entries[0].lower() in HEADERS:
            entries = entries[1:]
    entries = [entry for entry in entries if entry]
    if not entries:
        raise InputError(f"{path}: has no id: write one on each line, or leave the list out")
    return tuple(entries)


def match(entries: Iterable[str], known: Collection[str], where: str) -> Found:
    """Finds the recordings that entries mean, whether written with "v_", a file's extension or folder, or a comment.

    The id as it is written counts first. A recording that is called like a header or holds a "#" is found all the same.

    Args:
      entries: the entries of a list.
      known: the ids of the recordings.
      where: the file, for messages.

    Raises:
      InputError: an entry may mean two recordings.
    """
    exact = frozenset(known)
    alike: dict[str, list[str]] = {}
    for id in sorted(exact):
        alike.setdefault(_bare(id), []).append(id)
    ids: set[str] = set()
    unmatched: list[str] = []
    for entry in entries:
        spellings = _spellings(entry)
        whole = [s for s in spellings if s in exact][:1]
        close = whole or next((alike[bare] for s in spellings if (bare := _bare(s)) in alike), [])
        if len(close) > 1:
            raise InputError(f"{where}: {quoted(entry)} may mean {close[0]!r} or {close[1]!r}: write the whole id")
        ids.update(close)
        unmatched += [] if close else [entry]
    return Found(frozenset(ids), tuple(unmatched))


def match_any(entries: Sequence[str], sources: Sequence[Collection[str]], where: str) -> Found:
    """As `match`, with the recordings of several sources, each of which may write the ids in its own way.

    Raises:
      InputError: as of `match`; or no entry means any recording.
    """
    found = [match(entries, known, where) for known in sources]
    lost = set(entries).intersection(*(f.unmatched for f in found))
    unmatched = tuple(entry for entry in entries if entry in lost)
    if len(unmatched) == len(entries):
        known = [id for ids in sources for id in ids]
        guess = nearest(unmatched[0], known) or f"ids look like {quoted(known[0])}" if known else "there are none"
        raise InputError(
            f"{where}: none of its {len(entries)} ids is a recording (first: {quoted(unmatched[0])}; {guess}): "
            "correct the ids, or leave the list out"
        )
    return Found(frozenset().union(*(f.ids for f in found)), unmatched)


def told(unmatched: Sequence[str], known: Collection[str]) -> list[tuple[str, str]]:
    """Entries that mean no recording, as they are shown, and of the first few the nearest id."""
    return [
        (shown(entry), (nearest(entry, known) or "no id is like it") if i < EXAMPLES else "no such recording")
        for i, entry in enumerate(unmatched)
    ]


def _spellings(entry: str) -> list[str]:
    """What an entry may be: the whole line, the line before a comment, its first cell; without quotes."""
    parts = [entry, entry.split("#")[0], *(entry.split("#")[0].split(mark)[0] for mark in ",;\t")]
    return [s for part in dict.fromkeys(parts) if (s := part.strip().strip("\"'").strip())]


def _bare(id: str) -> str:
    """The id without folder, known extension and "v_"."""
    name = PurePosixPath(id.replace("\\", "/")).name or id
    stem, dot, extension = name.rpartition(".")
    if stem and f"{dot}{extension}".lower() in EXTENSIONS:
        name = stem
    return name.removeprefix("v_") or name
