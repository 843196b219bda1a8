"""Resampled precision against the evaluator itself on sets in which recordings really occur repeatedly."""

import hypothesis
import numpy as np
from hypothesis import strategies as st

from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.pairs import SegmentTable
from tal_jax.evaluation.resampling import drawn_recordings, interval, resampled_precision

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


def repeated(t, counts):
    """The table of a set in which recording r occurs counts[r] times, copies as recordings of their own."""
    rows, ids = [], []
    for copy in range(int(counts.max())):
        kept = np.flatnonzero(counts[t.recording] > copy)
        rows.append(kept)
        ids.append(t.recording[kept] + 1000 * copy)
    rows = np.concatenate(rows)
    # Copies differ by less than any two scores: they are one after the other, as ranks go.
    shift = np.concatenate([np.full(len(i), 1e-9 * n) for n, i in enumerate(ids)])
    return SegmentTable(np.concatenate(ids), t.label[rows], t.segments[rows], t.score[rows] - shift)


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
    """Up to the rank of copies: they share one here, and follow each other there, which moves precision a little."""
    truth, found = random_set(seed, 5)
    counts = np.random.default_rng(seed).multinomial(5, np.full(5, 0.2))
    (value,) = resampled_precision(truth, found, CLASSES, TIOU, np.arange(5), counts[None].astype(float))
    big = [repeated(t, counts) for t in (truth, found)]
    if len(big[0]):
        expected = evaluate_detections(*big, ("a", "b", "c"), TIOU).average
        # Interpolation takes the end of a block of copies, where precision is highest or lowest of the block.
        np.testing.assert_allclose(value, expected, atol=0.12)


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
    drawn = drawn_recordings(np.random.default_rng(0), 7, 4000)
    assert (drawn.sum(1) == 7).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.1)


def test_interval_is_of_percentiles_and_does_not_mind_empty_resamples():
    low, high = interval(np.concatenate([np.linspace(0, 1, 1001), [np.nan]]))
    np.testing.assert_allclose([low, high], [0.025, 0.975], atol=1e-9)
