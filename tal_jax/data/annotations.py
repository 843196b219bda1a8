"""Annotation files in the ActivityNet layout, as HACS, ActivityNet and THUMOS ship it.

`{"database": {id: {"subset": .., "duration": .., "annotations": [{"segment": [start, end], "label": ..}]}}}`

An annotation without a segment, `{"label": ..}`, says that the class is present somewhere in the recording. One whose
times are written in another way is no such annotation: its times are lost, and that is never silent.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tal_jax.data.annotation_fields import fields_of_time, number, positive, segment_of
from tal_jax.data.json_files import read_json
from tal_jax.errors import InputError
from tal_jax.words import check_label, fault

SUBSETS = {
    "training": "training",
    "train": "training",
    "validation": "validation",
    "val": "validation",
    "testing": "testing",
    "test": "testing",
}

# Annotators' tools round to milliseconds, so an end this far behind the recording is rounding and not worth a word.
ROUNDING_SECONDS = 1e-3


@dataclass(frozen=True)
class Instance:
    """One annotated action."""

    start: float  # seconds
    end: float  # seconds
    label: str


@dataclass(frozen=True)
class Recording:
    """One recording as annotated: nothing corrected, nothing left out.

    `labels` holds the labels of all annotations, sorted, each once; those of the instances need not be given.
    """

    id: str
    subset: str  # "training", "validation" or "testing"
    duration: float | None  # seconds; None where the file does not say
    instances: tuple[Instance, ...]  # the annotations with a segment
    labels: tuple[str, ...] = ()
    ignored: tuple[Instance, ...] = ()  # of classes that do not count, see `ignored.leave_out`
    stride: float | None = None  # seconds per snippet of its features, where the file says
    fps: float | None = None  # images per second of its video, where the file says
    untimed: tuple[str, ...] = ()  # annotations whose times cannot be used, and why; taken as labels alone

    def __post_init__(self) -> None:
        labels = {*self.labels, *(instance.label for instance in self.instances)}
        object.__setattr__(self, "labels", tuple(sorted(labels)))

    def labels_without_segment(self) -> tuple[str, ...]:
        """The labels that no instance has."""
        located = {instance.label for instance in self.instances}
        return tuple(label for label in self.labels if label not in located)


class Note(NamedTuple):
    """Something that was left out or changed."""

    kind: str
    id: str
    text: str

    def of_clip(self) -> "Note":
        """The note with a word that it is about a clip: a recording may have the same id."""
        return self._replace(text=f"clip, {self.text}")


def read(path: str | os.PathLike, *, keep_untimed: bool = False) -> dict[str, Recording]:
    """Reads an annotation file, in file order.

    Times may be numbers or strings; `duration` and `annotations` may be missing; a `taxonomy` is not needed; other
    fields are ignored, but for `stride` and `fps`; subset names are unified ("train", "Test", ..). Instances are
    returned as written: see `clean`.

    Args:
      path: the file.
      keep_untimed: take annotations without usable times as labels alone, and list them in `Recording.untimed`.

    Raises:
      InputError: the file is missing or not JSON of this layout, or holds an id twice, an id that is no plain file
        name, an unknown subset, or, without `keep_untimed`, a segment that is not two finite numbers.
    """
    content = read_json(path)
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict):
        raise InputError(f'{path}: no object "database": expected the ActivityNet layout, {{"database": {{id: ..}}}}')
    recordings = {key: _recording(path, key, entry) for key, entry in database.items()}
    if not keep_untimed and (text := untimed(recordings.values())):
        raise InputError(f"{path}: {text}")
    return recordings


def untimed(recordings: Iterable[Recording]) -> str:
    """What to say of annotations whose times cannot be used: how many, whose, why, the remedy; "" if there are none."""
    affected = [recording for recording in recordings if recording.untimed]
    if not affected:
        return ""
    count = sum(len(recording.untimed) for recording in affected)
    return (
        f"{count:,} annotation{'s' * (count > 1)} without usable times, of {some([r.id for r in affected])}: "
        f'{affected[0].untimed[0]}: write {{"segment": [start, end], "label": ..}} with seconds, or a label alone'
    )


def some(ids: Sequence[str], most: int = 3) -> str:
    """The first few of some ids, as text: "r1, r2, r3 (and 4 more)"."""
    more = f" (and {len(ids) - most:,} more)" if len(ids) > most else ""
    return f"{', '.join(ids[:most])}{more}"


def layout(recordings: Iterable[Recording], version: str) -> dict[str, object]:
    """What `read` reads, as plain JSON values: the inverse of it, but for fields that it ignores."""
    database = {}
    for recording in recordings:
        entry: dict[str, object] = {"subset": recording.subset}
        if recording.duration is not None:
            entry["duration"] = recording.duration
        for name in ("stride", "fps"):
            if getattr(recording, name) is not None:
                entry[name] = getattr(recording, name)
        entry["annotations"] = [{"segment": [i.start, i.end], "label": i.label} for i in recording.instances] + [
            {"label": label} for label in recording.labels_without_segment()
        ]
        database[recording.id] = entry
    return {"version": version, "taxonomy": [], "database": database}


def clean(recording: Recording, duration: float, min_seconds: float = 0.0) -> tuple[tuple[Instance, ...], list[Note]]:
    """Drops and clips the segments that cannot be learned from.

    Args:
      recording: the recording as read.
      duration: where the recording ends, in seconds.
      min_seconds: instances of this many seconds or less are dropped; 0 keeps all.

    Returns:
      The instances with `0 <= start < end <= duration`, and a note for each one that was
        dropped: "degenerate" (no positive length as annotated), "outside" (wholly), "short";
        clipped: "negative start", "overlong" (ends more than a millisecond after the recording).
    """
    kept, notes = [], []
    for instance in recording.instances:
        start, end = max(instance.start, 0.0), min(instance.end, duration)
        kinds = []
        if not instance.end > instance.start:
            kinds = ["degenerate"]
        elif not end > start:
            kinds = ["outside"]
        elif end - start <= min_seconds:
            kinds = ["short"]
        else:
            kept.append(Instance(start, end, instance.label))
            if instance.start < 0:
                kinds.append("negative start")
            if instance.end > duration + ROUNDING_SECONDS:
                kinds.append("overlong")
        text = f"{instance.start:.3f}-{instance.end:.3f} s of {duration:.3f} s, {instance.label}"
        notes += [Note(kind, recording.id, text) for kind in kinds]
    return tuple(kept), notes


def check_id(path: str | os.PathLike, key: Any) -> str:
    """Returns the id if it can safely be part of a file name.

    Raises:
      InputError: it is empty, a folder step such as "..", or contains a separator or an unprintable character.
    """
    if not isinstance(key, str) or not key or key in (".", "..") or set(key) & set("/\\") or fault(key):
        raise InputError(
            f"{path}: id {key!a} cannot be a file name (empty, '.', '..', a separator or control character): rename it"
        )
    return key


def _recording(path: str | os.PathLike, key: str, entry: Any) -> Recording:
    check_id(path, key)
    if not isinstance(entry, dict):
        raise InputError(f"{path}: {key}: expected an object with subset, duration and annotations, got {entry!r:.60}")
    name = entry.get("subset")
    subset = SUBSETS.get(name.lower()) if isinstance(name, str) else None
    if subset is None:
        raise InputError(f"{path}: {key}: unknown subset {name!r:.60}: use training, validation or testing")
    duration = entry.get("duration")
    if duration is not None:
        duration = _seconds(path, key, "duration", duration)
        if duration <= 0:
            raise InputError(f"{path}: {key}: duration {duration} is not positive: correct it or leave it out")
    annotations = entry.get("annotations")
    if annotations is None:
        _check_no_other_name(path, key, entry)
        annotations = []
    if not isinstance(annotations, list):
        raise InputError(f"{path}: {key}: annotations must be a list, got {annotations!r:.60}")
    labels = tuple(_label(path, key, item) for item in annotations)
    instances, unusable = [], []
    for item, label in zip(annotations, labels, strict=True):
        try:
            if (segment := segment_of(item)) is not None:
                instances.append(Instance(*segment, label))
        except ValueError as e:
            unusable.append(str(e))
    stride, fps = positive(entry.get("stride")), positive(entry.get("fps"))
    return Recording(key, subset, duration, tuple(instances), labels, (), stride, fps, tuple(unusable))


def _check_no_other_name(path: str | os.PathLike, key: str, entry: dict[str, Any]) -> None:
    """Raises InputError where the annotations have another name, since they would be lost."""
    for name, value in entry.items():
        if isinstance(value, list) and value and isinstance(value[0], dict) and fields_of_time(value[0]):
            raise InputError(f'{path}: {key}: no "annotations", but {name!r:.40} holds some: call them "annotations"')


def _label(path: str | os.PathLike, key: str, item: Any) -> str:
    if not isinstance(item, dict):
        raise _unlike(path, key, item)
    return check_label(f"{path}: {key}", item.get("label"))


def _unlike(path: str | os.PathLike, key: str, item: Any) -> InputError:
    return InputError(
        f'{path}: {key}: expected {{"segment": [start, end], "label": ..}}, or a label alone, got {item!r:.80}'
    )


def _seconds(path: str | os.PathLike, key: str, what: str, value: Any) -> float:
    try:
        return number(what, value)
    except ValueError as e:
        raise InputError(f"{path}: {key}: {e}: correct it") from None
