"""What is wrong with a submission: every kind of fault with its first record, how many have it, and the remedy."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tal_jax.data.annotations import ROUNDING_SECONDS, Recording
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.words import nearest

ID_LENGTH = 11  # of YouTube's ids, which may themselves begin with "v_"


@dataclass(frozen=True)
class Fault:
    """Everything of one kind that is wrong."""

    kind: str  # such as "missing recordings"
    count: int  # how many records have it
    text: str  # the first one, how many more, and the remedy


@dataclass(frozen=True)
class Rules:
    """What is asked of the detections, and what may be changed."""

    max_per_recording: int = 0  # more detections in a recording are a fault; 0: any number
    top: int = 0  # keeps the best of each recording; 0: all
    clip: bool = False  # cuts times to [0, duration]
    fill: bool = False  # recordings that are missing get an empty list
    tolerance: float = ROUNDING_SECONDS  # seconds that a time may lie outside of its recording
    classes: Collection[str] = field(default_factory=tuple)  # beside those of the annotation file


def server_id(id: str) -> str:
    """The id as the servers know it: "v_" + 11 characters of YouTube lose the "v_"; any other id stays as it is."""
    return id[2:] if id.startswith("v_") and len(id) == ID_LENGTH + 2 else id


def id_faults(
    given: Sequence[str],
    recordings: Mapping[str, Recording],
    members: Mapping[str, Recording],
    subset: str,
    fill: bool,
    annotations: object,
) -> list[Fault]:
    """Recordings that are unknown, of other subsets, given twice, or missing.

    Args:
      given: the ids in the detections file.
      recordings: the recordings of the annotation file by id, of all subsets.
      members: the recordings of the subset by the servers' ids.
      subset: the name of that subset.
      fill: whether missing recordings will be filled in, which is no fault then.
      annotations: name of the annotation file for messages.
    """
    subsets = {server_id(key): r.subset for key, r in recordings.items()}
    unknown = [key for key in given if server_id(key) not in subsets]
    elsewhere = [key for key in given if subsets.get(server_id(key), subset) != subset]
    first: dict[str, str] = {}
    twice = [key for key in given if first.setdefault(server_id(key), key) != key]
    missing = [key for key in members if key not in first] if not fill else []
    faults = []
    if unknown:
        text = f"recording {unknown[0]!r}{_more(unknown)} is not in {annotations}: use that file's ids, or remove it"
        faults.append(Fault("unknown recordings", len(unknown), text))
    if elsewhere:
        other = subsets[server_id(elsewhere[0])]
        text = f"recording {elsewhere[0]!r}{_more(elsewhere)} is of the subset {other}, not {subset}: "
        text += "remove it, or choose another --split"
        faults.append(Fault("recordings of other subsets", len(elsewhere), text))
    if twice:
        text = (
            f"recordings {first[server_id(twice[0])]!r} and {twice[0]!r}{_more(twice)} are the same: keep one of them"
        )
        faults.append(Fault("recordings twice", len(twice), text))
    if missing:
        text = f"recording {missing[0]!r} of the subset {subset}{_more(missing)} is missing: detect in it, or write "
        text += "empty lists with --missing=empty"
        faults.append(Fault("missing recordings", len(missing), text))
    return faults


@dataclass(frozen=True, eq=False)
class Named:
    """How the detections file writes them: for messages."""

    table: SegmentTable
    rank: np.ndarray  # [n] place of a detection among those of its recording
    ids: Mapping[int, str]

    def recording(self, index: int) -> str:
        """The recording by its id."""
        return f"recording {self.ids[index]!r}"

    def detection(self, row: int, rows: np.ndarray) -> str:
        """A detection by its place in its recording, as the first of the given rows."""
        return f"{self.recording(int(self.table.recording[row]))}: detection {self.rank[row]}{_more(rows)}"

    def times(self, row: int) -> str:
        """Its times as they were given."""
        return f"{self.table.segments[row, 0]:.3f}-{self.table.segments[row, 1]:.3f} s"


def detection_faults(
    table: SegmentTable,
    named: Named,
    labels: Sequence[str],
    known: Collection[str],
    duration: np.ndarray,
    rules: Rules,
) -> list[Fault]:
    """Detections without a known label, with times outside of their recording or without length, or too many of them.

    Args:
      table: the detections as they would be written, times in seconds; `recording` indexes `duration`.
      named: the same rows as the detections file writes them.
      labels: the labels that `table.label` indexes.
      known: the labels of the annotations.
      duration: [N] durations in seconds, inf where they are unknown.
      rules: what the server takes.
    """
    end_of = duration[table.recording]
    start, end = table.segments[:, 0], table.segments[:, 1]
    recognised = np.array([*(label in known for label in labels), True], bool)  # -1, no label, is a fault of its own
    within = " within the recording" if rules.clip else ""
    counts = np.bincount(table.recording, minlength=len(duration))
    faults = []

    def found(kind: str, wrong: np.ndarray, says: Callable[[int], str]) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            i = int(rows[0])
            faults.append(Fault(f"detections {kind}", len(rows), f"{named.detection(i, rows)}: {says(i)}"))

    found("without a label", table.label < 0, lambda i: "has no label: give each one a class, proposals are not taken")
    found(
        "with unknown labels",
        ~recognised[table.label],
        lambda i: f"unknown label {labels[table.label[i]]!r}: {_nearest(labels[table.label[i]], known)}",
    )
    found(
        "without positive length",
        ~(end > start),
        lambda i: f"{named.times(i)} has no positive length{within}: correct or remove it",
    )
    found(
        "with a negative start",
        start < -rules.tolerance,
        lambda i: f"{named.times(i)} starts before 0: correct it, or cut it with --clip",
    )
    found(
        "beyond the end",
        end > end_of + rules.tolerance,
        lambda i: f"{named.times(i)} ends after the recording, {end_of[i]:.3f} s: correct it, or cut it with --clip",
    )
    crowded = np.flatnonzero(counts > rules.max_per_recording) if rules.max_per_recording else np.zeros(0, np.int64)
    if len(crowded):
        first = int(crowded[0])
        text = f"{named.recording(first)}{_more(crowded)} has {counts[first]} detections, more than "
        text += f"--max_per_recording={rules.max_per_recording}: keep the best with --top={rules.max_per_recording}"
        faults.append(Fault("recordings with too many detections", len(crowded), text))
    return faults


def _more(items: Sequence[Any] | np.ndarray) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""


def _nearest(label: str, known: Collection[str]) -> str:
    """The remedy for a label that nobody knows."""
    return nearest(label, known) or "use the annotation file's, or name more in --classes=FILE"
