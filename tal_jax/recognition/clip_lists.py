"""Which clips of which videos are packed, and what they show: from annotations, or from a CSV file as HACS has it."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tal_jax.data import annotations
from tal_jax.data.annotation_fields import number
from tal_jax.data.annotations import Note, Recording, check_id
from tal_jax.errors import InputError
from tal_jax.tables.text_files import read_text
from tal_jax.words import check_label, hint

COLUMNS = ("classname", "youtube_id", "subset", "start", "end")  # and "label", which may be missing
SHOWS, DOES_NOT = "1", "-1"


@dataclass(frozen=True)
class Clip:
    """A part of a video, or all of it."""

    video: str  # its id
    recording: Recording  # what it shows; the id is that of the clip, segments count from its beginning
    begin: float = 0.0  # seconds of the video
    end: float | None = None  # None: until the video ends


def whole(recordings: Mapping[str, Recording]) -> list[Clip]:
    """Every video as one clip, with its segments and labels as annotated."""
    return [Clip(id, recording) for id, recording in recordings.items()]


def segments(recordings: Mapping[str, Recording], min_seconds: float = 0.0) -> tuple[list[Clip], list[Note]]:
    """Every annotated segment as a clip of one label, called ID.00000, ID.00001, .. by where it begins.

    Args:
      recordings: as annotated, by id.
      min_seconds: segments of this length or less are left out.

    Returns:
      The clips, and notes of the kinds "degenerate", "short" and "negative start" on those left out, or cut.
    """
    clips, notes = [], []
    for id, recording in recordings.items():
        kept = []
        for instance in recording.instances:
            text = f"{instance.start:.3f}-{instance.end:.3f} s, {instance.label}"
            begin = max(instance.start, 0.0)
            if not instance.end > begin:
                notes.append(Note("degenerate", id, text))
            elif instance.end - begin <= min_seconds:
                notes.append(Note("short", id, text))
            else:
                if instance.start < 0:
                    notes.append(Note("negative start", id, text))
                kept.append((begin, instance.end, instance.label))
        clips += _numbered(id, recording.subset, kept)
    return clips, notes


def read_csv(path: str | os.PathLike) -> tuple[list[Clip], list[Note]]:
    """The clips of a CSV file with the columns classname, youtube_id, subset, start, end and, if it is there, label.

    Such are HACS's lists of clips, two seconds each. Their label is 1, or -1 where people saw that the class is not
    shown; that says nothing of other classes, so such clips are left out.

    Returns:
      The clips, and notes of the kinds "negative clip" and "clip without label" on those left out.

    Raises:
      InputError: naming file, row and remedy.
    """
    text = read_text(path, "--clips_csv")
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True, strict=True)
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        known = hint(missing[0], reader.fieldnames or ())
        raise InputError(f"{path}: no column {missing[0]!r} in its first row: {known}; expected {','.join(COLUMNS)}")
    found: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    notes: list[Note] = []
    try:
        for row in reader:
            where = f"{path}: row {reader.line_num}"
            id = check_id(where, row["youtube_id"])
            subset = annotations.SUBSETS.get((row["subset"] or "").strip().lower())
            if subset is None:
                raise InputError(f"{where}: unknown subset {row['subset']!r:.40}: use training, validation or testing")
            shows = (row.get("label") or SHOWS).strip()
            if shows not in (SHOWS, DOES_NOT):
                raise InputError(f"{where}: label {shows!r:.40}: expected 1, or -1 where the class is not shown")
            name = (row["classname"] or "").strip()
            if not name:
                notes.append(Note("clip without label", id, f"row {reader.line_num}"))
                continue
            label = check_label(where, name)
            begin, end = (_seconds(where, column, row[column]) for column in ("start", "end"))
            if shows == DOES_NOT:
                notes.append(Note("negative clip", id, f"{begin:g}-{end:g} s, not {label}"))
                continue
            if not 0 <= begin < end:
                raise InputError(f"{where}: start {begin:g} and end {end:g}: expected seconds, 0 <= start < end")
            found.setdefault((id, subset), []).append((begin, end, label))
    except csv.Error as e:
        raise InputError(f"{path}: row {reader.line_num}: {e}: correct it") from e
    if not found:
        raise InputError(f"{path}: no clip that shows its class: give another file")
    subsets: dict[str, str] = {}
    for id, subset in found:
        if subsets.setdefault(id, subset) != subset:
            raise InputError(f"{path}: {id}: clips of {subsets[id]} and of {subset}: keep a video in one subset")
    return [clip for (id, subset), parts in found.items() for clip in _numbered(id, subset, parts)], notes


def _seconds(where: str, column: str, text: str | None) -> float:
    try:
        return number(column, text)
    except ValueError as e:
        raise InputError(f"{where}: {e}: correct it") from None


def _numbered(video: str, subset: str, parts: Iterable[tuple[float, float, str]]) -> list[Clip]:
    return [
        Clip(video, Recording(f"{video}.{i:05d}", subset, None, (), (label,)), begin, end)
        for i, (begin, end, label) in enumerate(sorted(parts))
    ]
