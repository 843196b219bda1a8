"""Detections of files whose times may be fractions of the recordings, or images and milliseconds."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tal_jax.checks.units import FRACTIONS, SECONDS, are_fractions, check_inside, refusal, scaled
from tal_jax.data.annotations import Recording
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import SegmentTable

INSIST = "Write seconds, or insist with --units=seconds (launch.evaluate, launch.report)"
REMEDY = "say so with --units=fractions, or --units=seconds if they are seconds (launch.evaluate, launch.report)"


def in_seconds(submission: Submission, recordings: Mapping[str, Recording], units: str = "") -> Submission:
    """A submission with times in seconds.

    Args:
      submission: the detections, as `detection_files.read` returns them.
      recordings: the annotated recordings by id, as `annotations.read` returns them.
      units: "fractions"; "seconds", which is not questioned; "": seconds, unless that cannot be.

    Raises:
      InputError: without `units`, these are fractions, or lie beyond the ends of their recordings; as fractions, an
        end is none, or a duration is unknown.
    """
    table = submission.table
    if units == SECONDS or not len(table):
        return submission
    if units == FRACTIONS:
        return replace(submission, table=_scaled(submission, recordings))
    rows = np.array([key in recordings for key in submission.recordings], bool)[table.recording]
    ends = table.segments[rows, 1]
    lengths = [_end(recordings[submission.recordings[i]]) for i in np.unique(table.recording[rows]).tolist()]
    if are_fractions(ends, lengths):
        raise refusal("detections", lengths, REMEDY)
    last = np.array([_last(recordings.get(key)) for key in submission.recordings], np.float64)
    check_inside("detections", table.segments, last[table.recording], INSIST)
    return submission


def _end(recording: Recording) -> float:
    """Where its last segment ends, for the annotations may be fractions as well; else its duration, 0 if unknown."""
    ends = [instance.end for instance in (*recording.instances, *recording.ignored)]
    return max(ends) if ends else recording.duration or 0.0


def _last(recording: Recording | None) -> float:
    """Seconds that it lasts, or until its last segment ends; 0 where the annotations do not tell the first."""
    return max(recording.duration, _end(recording)) if recording and recording.duration else 0.0


def _scaled(submission: Submission, recordings: Mapping[str, Recording]) -> SegmentTable:
    """Detections of recordings that nobody knows stay as they are: they match nothing."""
    table = submission.table
    segments = table.segments.copy()
    for i in np.unique(table.recording).tolist():
        key = submission.recordings[i]
        if key in recordings:
            own = table.recording == i
            segments[own] = scaled(f"detections: {key!r}", segments[own], recordings[key].duration)
    return replace(table, segments=segments)
