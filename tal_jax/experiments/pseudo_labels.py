"""Pseudo labels: detections of recordings whose classes are known, as segments for a supervised training."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tal_jax.data.annotations import Instance, Recording
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.ground_truth import subset_name
from tal_jax.evaluation.segment_table import temporal_iou
from tal_jax.evaluation.time_units import in_seconds


@dataclass(frozen=True)
class PseudoLabels:
    """Recordings whose segments are detections now, and what became of the others."""

    recordings: Mapping[str, Recording]  # all of the annotation file, in its order; the subset's are labelled anew
    subset: str
    segments: int
    left_out: tuple[str, ...]  # recordings of the subset with classes and no segment: all would be background
    without: Mapping[str, int]  # class -> other recordings that have it and got no segment of it

    def account(self) -> list[str]:
        """What a user should know before training on these labels, one fact on each line."""
        count = sum(r.subset == self.subset for r in self.recordings.values())
        lines = [f"{self.subset}: {self.segments} segments in {count} recordings"]
        if self.left_out:
            lines.append(f"left out: {len(self.left_out)} recordings that got no segment, {self.left_out[0]} first")
        if self.without:
            told = ", ".join(f"{label} {count}" for label, count in self.without.items())
            lines.append(f"recordings with a class and no segment of it: {told}")
        return lines


def pseudo_labels(
    recordings: Mapping[str, Recording],
    submission: Submission,
    subset: str,
    *,
    threshold: float,
    overlap: float,
    exclusive: bool,
) -> PseudoLabels:
    """Takes the best detections of every recording for its segments.

    Only classes that the recording is annotated with count. Scores are relative to the best of their class in the
    recording, so that every class has a chance. Segments are picked by falling score, and what overlaps an earlier pick
    too much is dropped. Of the subset's own segments nothing is used.

    Args:
      recordings: the annotated recordings, as `annotations.read` returns them.
      submission: detections of the subset's recordings, as `detection_files.read` returns them.
      subset: the subset whose recordings are labelled; other recordings are not changed.
      threshold: the least relative score of a segment, in [0, 1].
      overlap: the temporal IoU that two segments may have at most, in [0, 1].
      exclusive: hold segments of any two classes to `overlap`; False holds those of the same class.

    Raises:
      InputError: the subset is empty or unknown, there is no detection in it, or see `time_units.in_seconds`.
    """
    name = subset_name(recordings, subset)
    submission = in_seconds(submission, recordings)
    table = submission.table
    order = np.argsort(table.recording, kind="stable")
    bounds = np.searchsorted(table.recording[order], np.arange(len(submission.recordings) + 1))
    place = {key: i for i, key in enumerate(submission.recordings)}
    labelled: dict[str, Recording] = {}
    left_out, without = [], Counter[str]()
    segments = 0
    for key, recording in recordings.items():
        if recording.subset != name:
            labelled[key] = recording
            continue
        at = place.get(key)
        rows = order[:0] if at is None else order[bounds[at] : bounds[at + 1]]
        label = np.array([submission.labels[i] if i >= 0 else "" for i in table.label[rows]], object)
        known = np.isin(label, recording.labels) & (table.segments[rows, 1] > table.segments[rows, 0])
        rows, label = rows[known], label[known]
        chosen = _pick(table.segments[rows], label, table.score[rows], threshold, overlap, exclusive)
        picked = [_instance(table.segments[rows[i]], label[i]) for i in chosen]
        instances = tuple(sorted(picked, key=lambda i: (i.start, i.end, i.label)))
        if recording.labels and not instances:
            left_out.append(key)
            continue
        segments += len(instances)
        labelled[key] = replace(recording, instances=instances)
        without.update(labelled[key].labels_without_segment())
    if not segments:
        raise InputError(
            f"no detection of a {name} recording has one of its classes: detect with --split={name}, and check the ids"
        )
    return PseudoLabels(labelled, name, segments, tuple(left_out), dict(sorted(without.items())))


def _instance(segment: np.ndarray, label: object) -> Instance:
    start, end = segment.tolist()
    return Instance(start, end, str(label))


def _pick(
    segments: np.ndarray, label: np.ndarray, score: np.ndarray, threshold: float, overlap: float, exclusive: bool
) -> list[int]:
    """Indices of the kept ones among one recording's segments [n, 2] in seconds, best first."""
    relative = np.zeros(len(score))
    for name in set(label):
        own = label == name
        best = score[own].max()
        relative[own] = score[own] / best if best > 0 else score[own] == best  # not of scores below 0
    chosen: list[int] = []
    for i in np.lexsort((-score, -relative)).tolist():
        if relative[i] < threshold:
            break
        rivals = [j for j in chosen if exclusive or label[j] == label[i]]
        if not rivals or temporal_iou(segments[rivals], segments[i]).max() <= overlap:
            chosen.append(i)
    return chosen
