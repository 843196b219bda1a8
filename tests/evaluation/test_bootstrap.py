"""Resampled precision against the evaluator itself on sets in which recordings really occur repeatedly."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.special import stdtrit

from tal_jax.evaluation.bootstrap import drawn_recordings, interval, resampled_precision
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.segment_table import SegmentTable

TIOU = (0.3, 0.5, 0.8)
CLASSES = 3


def random_set(seed, recordings):
    rng = np.random.default_rng(seed)

    def table(rows):
        starts = rng.uniform(0, 20, rows)
        segments = np.stack([starts, starts + rng.uniform(1, 8, rows)], -1)
        labels = rng.integers(0, CLASSES, rows)
        return SegmentTable(rng.integers(0, recordings, rows), labels, segments, rng.permutation(rows) / rows)

    return table(int(rng.integers(4, 20))), table(120)


def precision_of_copies(truth, found, counts):
    """Average precision written from its definition, copies of a recording at the same rank; plain loops."""
    classes = []
    for k in range(CLASSES):
        positives = sum(counts[r] for r, label in zip(truth.recording, truth.label, strict=True) if label == k)
        if not positives:
            continue
        values = []
        for threshold in TIOU:
            order = sorted(np.flatnonzero(found.label == k), key=lambda i: -found.score[i])
            taken, total, hits, curve = set(), 0, 0, [(0.0, 0.0)]
            for i in order:
                options = []
                for g in np.flatnonzero((truth.label == k) & (truth.recording == found.recording[i])):
                    (s, e), (a, b) = found.segments[i], truth.segments[g]
                    inter = max(0.0, min(e, b) - max(s, a))
                    iou = inter / (e - s + b - a - inter)
                    if g not in taken and iou >= threshold:
                        options.append((iou, g))
                weight = counts[found.recording[i]]
                total += weight
                if options:
                    taken.add(max(options)[1])
                    hits += weight
                curve.append((hits / positives, hits / total if total else 0.0))
            best = [max(p for r, p in curve if r >= recall) for recall, _ in curve]
            values.append(sum((curve[i][0] - curve[i - 1][0]) * best[i] for i in range(1, len(curve))))
        classes.append(np.mean(values))
    return np.mean(classes) if classes else np.nan


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.integers(0, 10**6))
def test_counting_once_is_the_evaluator_and_leaving_out_is_leaving_out(seed):
    truth, found = random_set(seed, 5)
    rng = np.random.default_rng(seed)
    weights = np.concatenate([np.ones((1, 5)), rng.integers(0, 2, (3, 5))]).astype(float)
    result = resampled_precision(truth, found, CLASSES, TIOU, np.arange(5), weights)
    for value, counts in zip(result, weights, strict=True):
        kept = [t.take(counts[t.recording] > 0) for t in (truth, found)]
        if len(kept[0]) == 0:
            assert np.isnan(value)
        else:
            expected = evaluate_detections(*kept, ("a", "b", "c"), TIOU).average
            np.testing.assert_allclose(value, expected, atol=1e-12)


@hypothesis.settings(max_examples=25)
@hypothesis.given(st.integers(0, 10**6))
def test_repeated_recordings_count_repeatedly(seed):
    truth, found = random_set(seed, 5)
    counts = np.random.default_rng(seed).multinomial(5, np.full(5, 0.2), 3)
    values = resampled_precision(truth, found, CLASSES, TIOU, np.arange(5), counts.astype(float))
    for value, own in zip(values, counts, strict=True):
        np.testing.assert_allclose(value, precision_of_copies(truth, found, own), atol=1e-12)


def test_equal_copies_of_every_recording_change_nothing():
    truth, found = random_set(3, 4)
    once, thrice = resampled_precision(truth, found, CLASSES, TIOU, np.arange(4), np.array([[1.0] * 4, [3.0] * 4]))
    np.testing.assert_allclose(once, thrice, atol=1e-12)


def test_by_hand_with_weights():
    """Scores .9 hit of A, .8 miss of B, .7 hit of B; A counts twice, B three times: precision 2/2, then 5/8."""
    truth = SegmentTable(np.array([0, 1]), np.array([0, 0]), np.array([[0.0, 1], [0, 1]]), np.ones(2))
    segments = np.array([[0.0, 1], [5, 6], [0, 1]])
    found = SegmentTable(np.array([0, 1, 1]), np.zeros(3, int), segments, np.array([0.9, 0.8, 0.7]))
    (value,) = resampled_precision(truth, found, 1, [0.5], np.arange(2), np.array([[2.0, 3.0]]))
    np.testing.assert_allclose(value, 2 / 5 * 1 + 3 / 5 * 5 / 8)


def test_draws_are_as_many_as_there_are_recordings_and_uniform():
    drawn = drawn_recordings(np.random.default_rng(0), np.arange(7), 4000)
    assert (drawn.sum(1) == 7).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.1)


def test_recordings_of_a_group_are_drawn_together():
    groups = np.array(["b", "a", "b", "c", "a"])
    drawn = drawn_recordings(np.random.default_rng(0), groups, 4000)
    assert (drawn[:, [0, 1]] == drawn[:, [2, 4]]).all()
    assert (drawn[:, [0, 1, 3]].sum(1) == 3).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.1)


def test_interval_of_one_seed_is_that_of_the_recordings():
    resampled = np.random.default_rng(0).normal(3.0, 2.0, 20_000)
    low, high = interval(3.0, [np.append(resampled, np.nan)], [10_000], np.array([3.0]))
    np.testing.assert_allclose([low, high], [3 - 1.96 * 2, 3 + 1.96 * 2], atol=0.05)


def test_interval_by_hand():
    """Variances 4 times 4/3 and 12 / 3 are 28/3; degrees of freedom that squared / ((16/3)^2 / 3 + 16 / 2) are 4.98."""
    resampled = np.tile([-2.0, 2.0], 1000)
    by_seed = np.array([-(12**0.5), 0.0, 12**0.5])
    low, high = interval(0.0, [resampled], [4], by_seed)
    np.testing.assert_allclose([low, high], [-2.573 * (28 / 3) ** 0.5, 2.573 * (28 / 3) ** 0.5], rtol=1e-3)


def test_interval_of_folds_by_hand():
    """Of a mean of two: variances 4 * 2/1 / 4 with one degree of freedom, and 4 * 5/4 / 4 with four; t(2.41) = 3.66."""
    resampled = np.tile([-2.0, 2.0], 1000)
    low, high = interval(1.0, [resampled, resampled], [2, 5], np.array([1.0]))
    np.testing.assert_allclose((low + high) / 2, 1.0)
    freedom = 3.25**2 / (2**2 / 1 + 1.25**2 / 4)
    np.testing.assert_allclose((high - low) / 2, stdtrit(freedom, 0.975) * 3.25**0.5, rtol=1e-6)


def test_nothing_differs():
    assert interval(0.0, [np.zeros(5)], [4], np.zeros(3)) == (0.0, 0.0)


@pytest.mark.parametrize("of_seeds", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_two_alike_are_rarely_told_apart(seeds, of_seeds):
    """True difference 0, recordings' standard error 1, seeds' standard deviation as given: 5 % leave out 0, or so;
    of two seeds, where they matter most, one in nine."""
    rng = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(2000):
        recordings = rng.normal()  # of the set at hand, for all seeds
        by_seed = recordings + of_seeds * rng.normal(size=seeds)
        low, high = interval(by_seed.mean(), [by_seed.mean() + rng.normal(size=200)], [1000], by_seed)
        wrong += low > 0 or high < 0
    assert 0.02 < wrong / 2000 < (0.12 if seeds == 2 else 0.09)


@pytest.mark.parametrize("people", [3, 5, 20])
def test_few_people_are_not_taken_for_many(people):
    """True difference 0; people differ, their six recordings hardly: 5 % of intervals over people leave out 0, or so,
    where about half of those over recordings do."""
    rng = np.random.default_rng(people)
    groups = np.repeat(np.arange(people), 6)
    wrong = {True: 0, False: 0}
    for _ in range(400):
        gains = rng.normal(size=people)[groups] + 0.1 * rng.normal(size=len(groups))
        for together in wrong:
            own = groups if together else np.arange(len(groups))
            weights = drawn_recordings(rng, own, 200)
            low, high = interval(gains.mean(), [weights @ gains / weights.sum(1)], [len(np.unique(own))], np.zeros(1))
            wrong[together] += low > 0 or high < 0
    assert 0.01 < wrong[True] / 400 < 0.09
    assert wrong[False] / 400 > 0.3


@pytest.mark.parametrize("folds", [(5, 5), (3, 15)])
def test_small_folds_do_not_pass_for_large_ones(folds):
    """True difference 0, people differ alike in all folds, whose means count alike."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(600):
        gains = [rng.normal(size=people) for people in folds]
        weights = [drawn_recordings(rng, np.arange(people), 200) for people in folds]
        by_fold = [w @ g / w.sum(1) for w, g in zip(weights, gains, strict=True)]
        low, high = interval(np.mean([g.mean() for g in gains]), by_fold, folds, np.zeros(1))
        wrong += low > 0 or high < 0
    assert 0.02 < wrong / 600 < 0.1
