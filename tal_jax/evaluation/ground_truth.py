"""Which recordings and detections enter an evaluation, and an account of those that do not."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tal_jax.data import id_lists
from tal_jax.data.annotations import SUBSETS, Recording
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import SegmentTable, segment_table
from tal_jax.evaluation.time_units import in_seconds


@dataclass(frozen=True, eq=False)
class Selection:
    """Ground truth and detections with common indices, and what was left out."""

    recordings: tuple[str, ...]  # the recordings of the subset that count
    labels: tuple[str, ...]  # the classes of their ground truth, sorted
    truth: SegmentTable
    excusing: SegmentTable  # segments of ignored classes: see `evaluate_detections`
    detections: SegmentTable  # label -1: no class, or one the ground truth lacks; recording -1: see `unknown`
    rows: np.ndarray  # [n] int64: of the submission's table, those that `detections` holds
    missing: tuple[str, ...]  # annotated recordings that the detections do not mention: their segments are misses
    blocked: tuple[str, ...]  # recordings of the subset left out on request
    untimed: tuple[str, ...]  # recordings of the subset with labels alone: nobody knows which detections are right
    untimed_labels: int  # detections left out, of classes that their recording has somewhere, beside segments of others
    unmatched: tuple[str, ...]  # what was to be left out and is no recording of any subset, with the nearest id
    ignored: tuple[str, ...]  # recordings of other subsets among the detections
    unknown: tuple[str, ...]  # recordings that the annotation file does not have: their detections are false positives
    unknown_labels: Mapping[str, int]  # label of detections that the ground truth does not have -> how many
    silent_labels: tuple[str, ...]  # classes of the ground truth that no detection has: AP 0
    ignored_labels: Mapping[str, int]  # class that does not count -> segments of it
    degenerate_truth: int  # segments without positive length: they count as misses, as in the ActivityNet evaluator
    degenerate_detections: int


def select(
    recordings: Mapping[str, Recording],
    submission: Submission,
    subset: str,
    blocked: Collection[str] = (),
    units: str = "",
) -> Selection:
    """Joins ground truth and detections of one subset by recording id.

    Detections of recordings that belong to another subset are ignored: a file for several subsets serves each of them.
    Detections of recordings that the annotation file does not have at all are false positives, as in the ActivityNet
    evaluator (published THUMOS14 figures rest on that). Labels that the ground truth of the subset does not have are
    counted and match nothing. Segments of the ground truth stay as written; those of ignored classes (see
    `ignored.leave_out`) are kept apart. Where a label has no segment, only its presence is known, and a detection of it
    is neither right nor wrong: recordings with labels alone are left out, and of others the detections of that class.

    Args:
      recordings: the annotated recordings by id, as `annotations.read` returns them.
      submission: the detections, as `detection_files.read` returns them.
      subset: "training", "validation", "testing" or another spelling of annotation files ("train", "val", "test").
      blocked: recordings to leave out, of ground truth and detections, as lists of ids write them, see `id_lists`.
      units: of the detections' times, see `time_units.in_seconds`.

    Raises:
      InputError: an unknown or empty subset, no ground truth in it, not one recording in common, nothing that is
        blocked is a recording, or see `time_units.in_seconds`.
    """
    submission = in_seconds(submission, recordings, units)
    blocked, unmatched = _blocked(blocked, recordings, submission)
    name = subset_name(recordings, subset)
    members = {key: r for key, r in recordings.items() if r.subset == name}
    untimed = {key for key, r in members.items() if r.labels and not r.instances and key not in blocked}
    counted = {key: r for key, r in members.items() if key not in blocked and key not in untimed}
    index = {key: i for i, key in enumerate(counted)}
    labels = sorted({instance.label for r in counted.values() for instance in r.instances})
    if not labels:
        alone = f", {len(untimed)} of them with labels alone" if untimed else ""
        total = len(counted) + len(untimed)
        raise InputError(f"--split={subset}: none of its {total} recordings has a segment{alone}: nothing to evaluate")
    class_index = {label: k for k, label in enumerate(labels)}
    rows = [(index[key], instance) for key, r in counted.items() for instance in r.instances]
    truth = segment_table(
        recording=[i for i, _ in rows],
        label=[class_index[instance.label] for _, instance in rows],
        segments=[(instance.start, instance.end) for _, instance in rows],
        score=np.ones(len(rows)),
    )

    excusing = _excusing(counted.values())

    if submission.recordings and not any(key in members for key in submission.recordings):
        raise InputError(
            f"detections: none of the {len(submission.recordings)} recordings is in the subset {name} (first: "
            f"{submission.recordings[0]!r}; the subset has {next(iter(members))!r}): check --split and the ids"
        )
    ignored = [key for key in submission.recordings if key in recordings and key not in members and key not in blocked]
    left_out = {*ignored, *blocked, *untimed}
    table = submission.table
    counts = np.array([key not in left_out for key in submission.recordings], bool)[table.recording]
    elsewhere = _of_untimed_labels(submission, counted) & counts
    counts &= ~elsewhere
    to_recording = np.array([index.get(key, -1) for key in submission.recordings], np.int64)
    to_label = np.array([*(class_index.get(label, -1) for label in submission.labels), -1], np.int64)  # -1 stays -1
    used = table.take(counts)
    without_class = used.label[(used.label >= 0) & (to_label[used.label] < 0)]
    detections = SegmentTable(to_recording[used.recording], to_label[used.label], used.segments, used.score)
    return Selection(
        recordings=tuple(counted),
        labels=tuple(labels),
        truth=truth,
        excusing=excusing,
        detections=detections,
        rows=np.flatnonzero(counts),
        missing=tuple(sorted({key for key, r in counted.items() if r.instances} - set(submission.recordings))),
        blocked=tuple(key for key in members if key in blocked),
        untimed=tuple(sorted(untimed)),
        untimed_labels=int(elsewhere.sum()),
        unmatched=unmatched,
        ignored=tuple(ignored),
        unknown=tuple(key for key in submission.recordings if key not in recordings and key not in blocked),
        unknown_labels=dict(Counter(submission.labels[k] for k in without_class)),
        silent_labels=tuple(labels[k] for k in np.setdiff1d(np.arange(len(labels)), detections.label).tolist()),
        ignored_labels=dict(Counter(i.label for r in counted.values() for i in r.ignored)),
        degenerate_truth=_degenerate(truth),
        degenerate_detections=_degenerate(detections),
    )


def _blocked(
    entries: Collection[str], recordings: Collection[str], submission: Submission
) -> tuple[frozenset[str], tuple[str, ...]]:
    """The ids that are left out, and entries that are none, each with the nearest."""
    if not entries:
        return frozenset(), ()
    found = id_lists.match_any(sorted(entries), [recordings, submission.recordings], "--blocked")
    told = id_lists.told(found.unmatched, [*recordings, *submission.recordings])
    return found.ids, tuple(f"{entry}: {text}" for entry, text in told)


def _excusing(recordings: Iterable[Recording]) -> SegmentTable:
    """The segments of classes that do not count."""
    rows = [(n, i.start, i.end) for n, r in enumerate(recordings) for i in r.ignored]
    segments = [row[1:] for row in rows]
    return segment_table([row[0] for row in rows], np.full(len(rows), -1), segments, np.ones(len(rows)))


def _of_untimed_labels(submission: Submission, recordings: Mapping[str, Recording]) -> np.ndarray:
    """[n] bool: detections of a class that their recording has somewhere, without a segment of it."""
    table, width = submission.table, len(submission.labels) + 1
    index = {label: k for k, label in enumerate(submission.labels)}
    known = [(i, recordings[key]) for i, key in enumerate(submission.recordings) if key in recordings]
    bare = [i * width + index[x] for i, r in known for x in r.labels_without_segment() if x in index]
    return (table.label >= 0) & np.isin(table.recording * width + table.label, bare)


def _degenerate(table: SegmentTable) -> int:
    return int((table.segments[:, 1] <= table.segments[:, 0]).sum())


def subset_name(recordings: Mapping[str, Recording], subset: str) -> str:
    """The unified name of a subset that has recordings.

    Raises:
      InputError: unknown or empty; the message lists the subsets there are.
    """
    name = SUBSETS.get(subset.strip().lower(), subset)
    sizes = Counter(r.subset for r in recordings.values())
    if not sizes[name]:
        there = ", ".join(f"{key} ({n} recordings)" for key, n in sorted(sizes.items())) or "none at all"
        raise InputError(f"--split={subset}: the ground truth has no such recordings: it has {there}")
    return name


def read_blocked(path: str | os.PathLike) -> frozenset[str]:
    """Ids of recordings to leave out, as they are written: a JSON list, or a text with one on each line.

    Raises:
      InputError: see `id_lists.read`.
    """
    return frozenset(id_lists.read(path, "--blocked"))
