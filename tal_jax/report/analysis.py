"""Everything a report shows of one detections file, as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tal_jax.data.annotations import Recording
from tal_jax.errors import InputError
from tal_jax.evaluation import diagnosis, sensitivity
from tal_jax.evaluation.curves import Calibration, calibrate, precision_recall
from tal_jax.evaluation.detection import DetectionResult, Matching, match_detections, precision_of
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.ground_truth import Selection, select, subset_name
from tal_jax.evaluation.per_recording import RecordingScores, score_recordings
from tal_jax.evaluation.proposals import ProposalResult, evaluate_proposals

THRESHOLDS = 20  # at most: every one of them is a choice of several figures
MAIN_TIOU = 0.5  # of the browser and of what a figure shows first, or the nearest there is


@dataclass(frozen=True, eq=False)
class Analysis:
    """One detections file against the ground truth."""

    name: str
    selection: Selection
    label_names: tuple[str, ...]  # of every detection of the selection, known to the truth or not
    matching: Matching
    detection: DetectionResult
    proposals: ProposalResult  # the detections as proposals, whatever their class
    overlap: diagnosis.Overlaps
    kinds: np.ndarray  # [A, n], in the order of the matching
    profile: diagnosis.Profile
    cost: np.ndarray  # [kinds, A]
    sensitivity: sensitivity.Sensitivity
    precision_recall: np.ndarray  # [A, 101]
    calibration: Calibration
    recordings: RecordingScores

    @property
    def main(self) -> int:
        """The threshold nearest to MAIN_TIOU, as an index."""
        return int(np.abs(self.matching.tiou - MAIN_TIOU).argmin())


def likely_subset(recordings: Mapping[str, Recording], submission: Submission) -> str:
    """The subset that most of the detections' recordings belong to; "validation" if they belong to none.

    Args:
      recordings: the annotated recordings by id, as `annotations.read` returns them.
      submission: the detections, as `detection_files.read` returns them.
    """
    found = [recordings[key].subset for key in submission.recordings if key in recordings]
    return max(sorted(set(found)), key=found.count, default="validation")


def analyse(
    name: str,
    recordings: Mapping[str, Recording],
    submission: Submission,
    subset: str,
    tiou: np.ndarray,
    blocked: frozenset[str] = frozenset(),
    units: str = "",
) -> Analysis:
    """All numbers of one detections file; mAP, AR@AN and AUC by the functions of launch.evaluate.

    Args:
      name: what the page calls the detections.
      recordings: the annotated recordings by id, as `annotations.read` returns them.
      submission: the detections, as `detection_files.read` returns them.
      subset: the subset to evaluate on.
      tiou: [A] thresholds of temporal IoU in (0, 1].
      blocked: ids of recordings to leave out.
      units: of the detections' times, see `time_units.in_seconds`.

    Raises:
      InputError: as `ground_truth.select` does; detections without labels, or more than THRESHOLDS thresholds.
    """
    if len(tiou) > THRESHOLDS:
        raise InputError(f"--tiou: {len(tiou)} thresholds, a page has room for {THRESHOLDS}: take a larger step")
    if (submission.table.label < 0).any():
        raise InputError(f"{name}: has detections without a label: add labels, or see launch.evaluate --proposals")
    chosen = select(recordings, submission, subset_name(recordings, subset), blocked, units)
    truth, detections = chosen.truth, chosen.detections
    matching = match_detections(truth, detections, tiou, chosen.excusing)
    overlap = diagnosis.overlaps(truth, detections)
    kinds = diagnosis.kinds_of(matching, overlap)
    durations = [recordings[key].duration for key in chosen.recordings]
    return Analysis(
        name=name,
        selection=chosen,
        label_names=tuple(submission.labels[k] for k in submission.table.label[chosen.rows].tolist()),
        matching=matching,
        detection=precision_of(matching, truth, chosen.labels),
        proposals=evaluate_proposals(truth, detections, tiou),
        overlap=overlap,
        kinds=kinds,
        profile=diagnosis.profile(matching, kinds, truth),
        cost=diagnosis.cost(matching, kinds, truth),
        sensitivity=sensitivity.sensitivity(matching, truth, durations),
        precision_recall=precision_recall(matching, truth),
        calibration=calibrate(matching, detections.score, truth),
        recordings=score_recordings(matching, truth, detections, len(chosen.recordings)),
    )
