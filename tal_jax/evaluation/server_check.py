"""Submissions as the servers of ActivityNet and HACS take them: detections checked against the annotation file.

The layout is that of the ActivityNet evaluation kit, which HACS took over: a prediction file must have `version`,
`results` and `external_data`, and its ids are those of YouTube, without the "v_" that file names carry. The kit sets no
limit to the detections of a recording, and one for a server can be given.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tal_jax.data.annotations import Recording
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.ground_truth import subset_name
from tal_jax.evaluation.segment_table import SegmentTable, descending, group_ranks
from tal_jax.evaluation.server_faults import Fault, Named, Rules, detection_faults, id_faults, server_id
from tal_jax.evaluation.time_units import in_seconds
from tal_jax.tables.text_files import read_text
from tal_jax.words import check_label

VERSION = "VERSION 1.3"  # of the ActivityNet data set; the kit asks for the field, not for a value


@dataclass(frozen=True, eq=False)
class Checked:
    """A submission that has no fault, and what was changed to make it so."""

    submission: Submission
    subset: str
    empty: int  # recordings without detections
    added: int  # recordings that the detections did not mention: written as empty lists
    clipped: int  # detections whose times were cut to the recording
    dropped: int  # detections beyond the best `top` of their recording
    unchecked: int  # recordings whose duration the annotation file does not give

    def account(self) -> list[str]:
        """What a user should know before sending it, a line each."""
        recordings, detections = len(self.submission.recordings), len(self.submission.table)
        lines = [f"{self.subset}: {recordings} recordings, {detections} detections"]
        if self.empty:
            lines.append(
                f"empty: {self.empty} recordings without detections, {self.added} of them not in the file given"
            )
        if self.clipped:
            lines.append(f"clipped: {self.clipped} detections cut to their recording")
        if self.dropped:
            lines.append(f"dropped: {self.dropped} detections not among the best of their recording")
        if self.unchecked:
            lines.append(f"unchecked: {self.unchecked} recordings whose duration the annotations do not give")
        external = self.submission.external_data
        used = external["details"] if external["used"] else "none (--external_data=TEXT says what was used)"
        return [*lines, f"external data: {used}"]


def check(
    submission: Submission,
    recordings: Mapping[str, Recording],
    subset: str,
    rules: Rules,
    *,
    source: str | os.PathLike = "detections",
    annotations: str | os.PathLike = "the annotation file",
    version: str = VERSION,
    external_data: str | None = None,
) -> Checked:
    """Checks detections and puts them into the servers' form: every recording of the subset, in the annotations' order.

    Ids match with and without "v_". What the rules change comes first (top, then clip, fill), then the checks, each
    of them on everything. Labels may be those of any subset, as the testing subset has none.

    Args:
      submission: the detections, as `detection_files.read` returns them; times in seconds.
      recordings: the annotated recordings by id, as `annotations.read` returns them.
      subset: "training", "validation", "testing" or another spelling of annotation files.
      rules: what the server takes, and what is changed to fit.
      source: name of the detections file for messages.
      annotations: name of the annotation file for messages.
      version: the file's `version`.
      external_data: what other data was used, "" for none; None takes what `submission` says, none if it does not.

    Raises:
      InputError: the subset is empty, there is no class, or there are faults: a line with the first record of the first
        kind, and the number of all the others, kind by kind.
    """
    subset = subset_name(recordings, subset)
    submission = in_seconds(submission, recordings)
    known = {*(label for r in recordings.values() for label in r.labels), *rules.classes}
    if not known:
        raise InputError(f"{annotations}: has no label in any subset: give --classes=FILE, with one label on each line")
    external = _external_data(submission.external_data, external_data, source)
    members = {server_id(key): r for key, r in recordings.items() if r.subset == subset}
    faults = id_faults(submission.recordings, recordings, members, subset, rules.fill, annotations)

    position = {key: i for i, key in enumerate(members)}
    place = np.array([position.get(server_id(key), -1) for key in submission.recordings], np.int64)
    duration = np.array([np.inf if r.duration is None else r.duration for r in members.values()])
    rows = np.flatnonzero(place[submission.table.recording] >= 0)
    table = submission.table.take(rows)
    table = replace(table, recording=place[table.recording])
    rank = group_ranks(table.recording)  # of a detection in its recording, as the file has it
    # By recording, as the written file has them: what is read back is what was checked.
    order = np.argsort(table.recording, kind="stable")
    table, rank = table.take(order), rank[order]
    best = _best(table, rules.top) if rules.top else np.ones(len(table), bool)
    written, rank = table.take(best), rank[best]
    table, clipped = _clip(written, duration) if rules.clip else (written, 0)
    if not len(submission.table):
        faults.append(Fault("detections", 0, "no detections at all: run launch.detect again"))
    named = Named(written, rank, {position[server_id(k)]: k for k in submission.recordings if server_id(k) in members})
    faults += detection_faults(table, named, submission.labels, known, duration, rules)
    if faults:
        first, *others = faults
        also = "".join(f"; also {f.count} {f.kind}" for f in others)
        raise InputError(f"{source}: {first.text}{also}")

    table, labels = _renumbered(table, submission.labels)
    return Checked(
        Submission(tuple(members), labels, table, version, external),
        subset,
        empty=len(members) - len(np.unique(table.recording)),
        added=len(members) - len(submission.recordings),
        clipped=clipped,
        dropped=int((~best).sum()),
        unchecked=int(np.isinf(duration).sum()),
    )


def read_classes(path: str | os.PathLike) -> tuple[str, ...]:
    """Labels, one on each line.

    Raises:
      InputError: cannot be read, has none, or has one that is no label.
    """
    lines = (line.strip() for line in read_text(path, "--classes").splitlines())
    labels = tuple(check_label(path, line) for line in lines if line)
    if not labels:
        raise InputError(f"{path}: has no label: write one on each line")
    return labels


def _external_data(found: Mapping[str, Any], given: str | None, source: str | os.PathLike) -> dict[str, Any]:
    if given is not None:
        return {"used": bool(given), "details": given}
    used, details = found.get("used", False), found.get("details", "")
    if not isinstance(used, bool) or not isinstance(details, str):
        raise InputError(
            f'{source}: external_data is not {{"used": true or false, "details": text}}: give --external_data=TEXT'
        )
    return {"used": used, "details": details}


def _clip(table: SegmentTable, duration: np.ndarray) -> tuple[SegmentTable, int]:
    """Times within [0, duration], and how many detections that changed. Nothing of one wholly outside is left."""
    cut = np.clip(table.segments, 0.0, duration[table.recording][:, None])
    return replace(table, segments=cut), int((cut != table.segments).any(axis=1).sum())


def _best(table: SegmentTable, count: int) -> np.ndarray:
    """[n] bool: the `count` highest scores of each recording; the file keeps its order."""
    order = descending(table.score)
    keep = np.zeros(len(table), bool)
    keep[order] = group_ranks(table.recording[order]) < count
    return keep


def _renumbered(table: SegmentTable, labels: Sequence[str]) -> tuple[SegmentTable, tuple[str, ...]]:
    """Labels in order of first appearance, and no others: as a reader of the written file numbers them."""
    used, first, inverse = np.unique(table.label, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(used), np.int64)
    number[order] = np.arange(len(used))
    return replace(table, label=number[inverse]), tuple(labels[k] for k in used[order])
