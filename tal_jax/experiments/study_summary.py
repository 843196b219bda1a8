"""A study's summary: mean and spread of every row, and its difference to the baseline with a bootstrap interval."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tal_jax.errors import InputError
from tal_jax.evaluation.bootstrap import drawn_recordings, interval, resampled_precision
from tal_jax.evaluation.detection import HIGH_TIOU, LOW_TIOU
from tal_jax.evaluation.segment_table import SegmentTable

THRESHOLDS = {"average_mAP": HIGH_TIOU, "low_mAP": LOW_TIOU}  # the scores that are resampled, and their tIoUs


@dataclass(frozen=True, eq=False)
class Outcome:
    """The scores of one training, and its detections in the recordings that it was measured on, with their truth."""

    row: str
    fold: str
    seed: int
    values: Mapping[str, float]  # name -> fraction; "parameters", "seconds"
    truth: SegmentTable
    found: SegmentTable
    recordings: np.ndarray  # [R] values of the tables' `recording`, rising
    labels: tuple[str, ...]
    groups: np.ndarray  # [R] recordings with the same value are resampled together
    excusing: SegmentTable | None = None  # segments of ignored classes, see `evaluate_detections`


@dataclass(frozen=True)
class Difference:
    """A row's mean score minus the baseline's, and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "better" or "worse" where the interval leaves out zero."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "unclear"


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    row: str
    trainings: int
    mean: Mapping[str, float]  # over seeds, of the mean over folds
    spread: Mapping[str, float]  # standard deviation over seeds, of the mean over folds; NaN for one seed
    by_seed: Mapping[str, tuple[float, ...]]
    differences: Mapping[str, Difference]  # of the scores in THRESHOLDS that both rows have; {} for the baseline


def summarize(outcomes: Sequence[Outcome], baseline: str, *, resamples: int = 1000, seed: int = 0) -> list[Line]:
    """The table, in the rows' order.

    A resample draws, with replacement, as many groups of recordings of each fold as it has, the same ones for all rows:
    what recordings have in common cancels out of the differences (paired bootstrap, Efron and Tibshirani 1993). So does
    what a seed has in common, as differences are taken seed by seed.

    Args:
      outcomes: those of every row with every seed on every fold.
      baseline: the name of the row to compare with.
      resamples: N, how many resamples the intervals are made from.
      seed: the seed of the resamples.

    Returns:
      One line for every row.

    Raises:
      InputError: rows were measured on different recordings, or on other segments of them.
    """
    rows = list(dict.fromkeys(o.row for o in outcomes))
    seeds = list(dict.fromkeys(o.seed for o in outcomes))
    _check_alike(outcomes)
    rng = np.random.default_rng(seed)
    groups = {o.fold: o.groups for o in outcomes}
    counts = [len(np.unique(own)) for own in groups.values()]
    weights = {fold: drawn_recordings(rng, own, resamples) for fold, own in groups.items()}
    lines = {row: _line(row, [o for o in outcomes if o.row == row], seeds) for row in rows}
    resampled = {row: _resampled([o for o in outcomes if o.row == row], weights) for row in rows}

    def differences(row: str) -> dict[str, Difference]:
        if row == baseline:
            return {}
        mine, other, found = lines[row], lines[baseline], {}
        for score in [s for s in resampled[row] if s in resampled[baseline]]:
            value = mine.mean[score] - other.mean[score]
            by_seed = np.subtract(mine.by_seed[score], other.by_seed[score])
            by_fold = resampled[row][score] - resampled[baseline][score]
            found[score] = Difference(value, *interval(value, by_fold, counts, by_seed))
        return found

    return [dataclasses.replace(line, differences=differences(row)) for row, line in lines.items()]


def _check_alike(outcomes: Sequence[Outcome]) -> None:
    first: dict[str, Outcome] = {}
    for o in outcomes:
        other = first.setdefault(o.fold, o)
        same = np.array_equal(o.recordings, other.recordings) and all(
            np.array_equal(a, b) for a, b in zip(vars(o.truth).values(), vars(other.truth).values(), strict=True)
        )
        if not same:
            raise InputError(
                f"study: fold {o.fold}: rows {other.row} and {o.row} were measured on different recordings"
            )


def _resampled(outcomes: Sequence[Outcome], weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of a row in every resample of each fold: mean over seeds, [F, N] each."""

    def mean(fold: str, tiou: np.ndarray) -> np.ndarray:
        own = [o for o in outcomes if o.fold == fold]
        scores = [
            resampled_precision(o.truth, o.found, len(o.labels), tiou, o.recordings, weights[fold], o.excusing)
            for o in own
        ]
        return np.mean(scores, axis=0)

    return {
        score: np.stack([mean(fold, tiou) for fold in weights])
        for score, tiou in THRESHOLDS.items()
        if all(score in o.values for o in outcomes)
    }


def _line(row: str, outcomes: Sequence[Outcome], seeds: Sequence[int]) -> Line:
    names = list(outcomes[0].values)
    by_seed = {
        name: tuple(float(np.mean([o.values[name] for o in outcomes if o.seed == seed])) for seed in seeds)
        for name in names
    }
    mean = {name: float(np.mean(values)) for name, values in by_seed.items()}
    spread = {
        name: float(np.std(values, ddof=1)) if len(seeds) > 1 else float("nan") for name, values in by_seed.items()
    }
    return Line(row, len(outcomes), mean, spread, by_seed, {})
