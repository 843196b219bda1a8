"""Average recall against the average number of proposals (AR@AN), with the semantics of the ActivityNet evaluator."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tal_jax.errors import InputError
from tal_jax.evaluation.segment_table import SegmentTable, descending, group_ranks, overlapping_pairs

DEFAULT_TIOU = np.round(np.linspace(0.5, 0.95, 10), 9)
BUDGETS = 100  # points of the curve


@dataclass(frozen=True, eq=False)
class ProposalResult:
    """Recall (fractions in [0, 1]) at A thresholds and J budgets."""

    tiou: np.ndarray  # [A] float64
    numbers: np.ndarray  # [J] float64: average number of proposals per recording
    recall: np.ndarray  # [A, J] float64

    @property
    def average_recall(self) -> np.ndarray:
        """[J] float64: AR@AN, the mean over thresholds."""
        return self.recall.mean(axis=0)

    @property
    def auc(self) -> float:
        """Area under AR against AN (trapezoids from the first to the last budget) over the last budget."""
        return float(np.trapezoid(self.average_recall, self.numbers) / self.numbers[-1])


def evaluate_proposals(
    truth: SegmentTable,
    proposals: SegmentTable,
    tiou: Sequence[float] | np.ndarray = DEFAULT_TIOU,
    max_average: float = 100.0,
) -> ProposalResult:
    """Recall at budgets of 1%, 2%, .. 100% of `max_average` proposals per recording.

    The rules are those of `average_recall_vs_avg_nr_proposals` of the ActivityNet evaluator. The budget is global, not
    a fixed number per recording: with V recordings that have ground truth and N proposals in all, recording v with n_v
    proposals keeps the best `m_v = min(floor(n_v * max_average * V / N), n_v)`, and at budget j = 1 .. 100 the best
    `min(floor(m_v * j / 100 * max_average * V / sum(m)), m_v)` of them count. So recordings with more proposals get
    more of the budget. A ground-truth segment is found when any proposal that counts reaches the threshold (one
    proposal may find several); recall is over all segments of all recordings. Equal scores: see `pairs.descending`.
    Labels are not looked at.

    Args:
      truth: the annotated segments, `recording` not negative.
      proposals: the scored segments; all of them count in N, also those of recordings without ground truth.
      tiou: [A] thresholds in (0, 1].
      max_average: average number of proposals per recording at the last point.

    Raises:
      InputError: there is no ground truth.
    """
    thresholds = np.asarray(tiou, np.float64)
    if len(truth) == 0:
        raise InputError("ground truth: no segment to find: choose a subset that is annotated")
    recordings, truth_recording = np.unique(truth.recording, return_inverse=True)
    budget = max_average * float(len(recordings))

    ranked = proposals.take(descending(proposals.score))
    ranked = ranked.take(np.isin(ranked.recording, recordings))
    column = np.searchsorted(recordings, ranked.recording)
    available = np.bincount(column, minlength=len(recordings))
    ratio = budget / len(proposals) if len(proposals) else 0.0
    kept = np.minimum((available * ratio).astype(np.int64), available)  # [V]
    numbers = np.arange(1, BUDGETS + 1) / BUDGETS * max_average
    recall = np.zeros((len(thresholds), BUDGETS))
    if kept.sum() == 0:
        return ProposalResult(thresholds, numbers, recall)
    share = np.arange(1, BUDGETS + 1) / BUDGETS * (budget / kept.sum())
    counting = np.minimum((kept[:, None] * share).astype(np.int64), kept[:, None])  # [V, J]

    rank = group_ranks(column)
    row, truth_row, overlap = overlapping_pairs(
        truth_recording, truth.segments, column, ranked.segments, thresholds.min()
    )
    for a, threshold in enumerate(thresholds):
        enough = overlap >= threshold
        first = np.full(len(truth), np.iinfo(np.int64).max)  # rank of the first proposal that finds the segment
        np.minimum.at(first, truth_row[enough], rank[row[enough]])
        recall[a] = (first[:, None] < counting[truth_recording]).mean(axis=0)
    return ProposalResult(thresholds, numbers, recall)
