"""What a study found: mean and spread of every row, and its difference to the baseline with a bootstrap interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tal_jax.evaluation.pairs import SegmentTable
from tal_jax.evaluation.resampling import drawn_recordings, drawn_seeds, interval, resampled_precision

HIGH = np.round(np.arange(0.5, 0.96, 0.05), 2)  # tIoU thresholds of HACS and ActivityNet
LOW = np.round(np.arange(0.1, 0.75, 0.1), 2)  # those of THUMOS14 in the weakly-supervised literature
THRESHOLDS = {"average_mAP": HIGH, "low_mAP": LOW}  # scores that are resampled


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one training reached on the recordings it was measured on."""

    row: str
    fold: str
    seed: int
    values: Mapping[str, float]  # name -> fraction; "parameters", "seconds"
    truth: SegmentTable
    found: SegmentTable
    recordings: np.ndarray  # [R] values of the tables' `recording`, rising
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """A row's mean score minus the baseline's, and where 95 % of resamples are."""

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
    spread: Mapping[str, float]  # standard deviation over seeds, of the mean over folds
    by_seed: Mapping[str, tuple[float, ...]]
    differences: Mapping[str, Difference]  # of the scores in THRESHOLDS that both rows have; {} for the baseline


def summarize(outcomes: Sequence[Outcome], baseline: str, *, resamples: int = 1000, seed: int = 0) -> list[Line]:
    """The table, in the rows' order.

    A resample draws, with replacement, as many recordings of each fold as it has and as many seeds as there are, the
    same ones for all rows: what recordings and seeds have in common cancels out of the differences (paired bootstrap,
    Efron and Tibshirani 1993).

    Args:
      outcomes: of every row with every seed on every fold.
      baseline: the row to compare with.
      resamples: N.
      seed: of the draws.
    """
    rows = list(dict.fromkeys(o.row for o in outcomes))
    rng = np.random.default_rng(seed)
    sizes = {o.fold: len(o.recordings) for o in outcomes}
    weights = {fold: drawn_recordings(rng, size, resamples) for fold, size in sizes.items()}
    seeds = list(dict.fromkeys(o.seed for o in outcomes))
    drawn = drawn_seeds(rng, len(seeds), resamples)
    resampled = {row: _resampled([o for o in outcomes if o.row == row], weights, seeds, drawn) for row in rows}
    lines = {row: _line(row, [o for o in outcomes if o.row == row], seeds) for row in rows}

    def difference(row: str, score: str) -> Difference:
        value = lines[row].mean[score] - lines[baseline].mean[score]
        return Difference(value, *interval(resampled[row][score] - resampled[baseline][score]))

    return [
        Line(
            **{
                **vars(line),
                "differences": {s: difference(row, s) for s in resampled[row] if s in resampled[baseline]}
                if row != baseline
                else {},
            }
        )
        for row, line in lines.items()
    ]


def _resampled(
    outcomes: Sequence[Outcome], weights: Mapping[str, np.ndarray], seeds: Sequence[int], drawn: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores of a row in every resample: mean over drawn seeds and folds, [N] each."""
    result = {}
    for score, tiou in THRESHOLDS.items():
        if any(score not in o.values for o in outcomes):
            continue
        by_seed = np.zeros((len(seeds), len(drawn)))
        for i, seed in enumerate(seeds):
            parts = [
                resampled_precision(o.truth, o.found, len(o.labels), tiou, o.recordings, weights[o.fold])
                for o in outcomes
                if o.seed == seed
            ]
            by_seed[i] = np.mean(parts, axis=0)
        result[score] = np.take_along_axis(by_seed, drawn.T, axis=0).mean(axis=0)
    return result


def _line(row: str, outcomes: Sequence[Outcome], seeds: Sequence[int]) -> Line:
    names = list(outcomes[0].values)
    by_seed = {
        name: tuple(float(np.mean([o.values[name] for o in outcomes if o.seed == seed])) for seed in seeds)
        for name in names
    }
    mean = {name: float(np.mean(values)) for name, values in by_seed.items()}
    spread = {name: float(np.std(values, ddof=1)) if len(seeds) > 1 else 0.0 for name, values in by_seed.items()}
    return Line(row, len(outcomes), mean, spread, by_seed, {})
