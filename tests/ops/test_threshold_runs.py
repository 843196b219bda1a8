"""Runs above thresholds against a walk along the sequence."""

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import weak_references as weak

from tal_jax.ops.threshold_runs import runs

T, K = 8, 2
LENGTHS = (8, 5, 1, 0)
MASK = np.arange(T)[None] < np.array(LENGTHS)[:, None]
THRESHOLDS = np.array([0.25, 0.5, 0.6, 0.875], np.float32)
compiled = jax.jit(runs)


def check(values, mask, thresholds):
    segments, first = (np.asarray(x) for x in compiled(values, mask, thresholds))
    assert segments.shape == (len(values), len(thresholds), values.shape[1], values.shape[2], 2)
    assert first.dtype == bool
    for b, j, k in np.ndindex(len(values), len(thresholds), values.shape[2]):
        expected = weak.runs(values[b, mask[b], k], thresholds[j])
        at = np.flatnonzero(first[b, j, :, k])
        np.testing.assert_array_equal(at, [t for t, _, _ in expected])
        np.testing.assert_allclose(
            segments[b, j, at, k], np.array([(s, e) for _, s, e in expected]).reshape(-1, 2), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_array_equal(np.delete(segments[b, j, :, k], at, axis=0), 0)
    return segments, first


# Eighths: many values lie exactly on a threshold, and many neighbours are equal.
@given(hnp.arrays(np.float32, (4, T, K), elements=st.integers(0, 8).map(lambda n: n / 8)))
def test_sequences_with_ties(values):
    check(values, MASK, THRESHOLDS)


def test_sequences_without_ties():
    rng = np.random.default_rng(0)
    _, first = check(rng.uniform(0, 1, (4, T, K)).astype(np.float32), MASK, THRESHOLDS)
    assert first.sum() > 10
    # The lowest threshold is below everything: one run, the recording.
    segments, first = check(rng.uniform(0.3, 1, (4, T, K)).astype(np.float32), MASK, THRESHOLDS)
    assert first[:3, 0, 0].all()
    np.testing.assert_array_equal(segments[:3, 0, 0, :, 1], np.array(LENGTHS[:3], np.float32)[:, None].repeat(K, 1))


def test_runs_by_hand():
    values = np.array([1, 0, 0, 1, 0.5, 0, 0, 1], np.float32)[None, :, None]
    segments, first = compiled(values, MASK[:1], np.array([0.5], np.float32))
    np.testing.assert_array_equal(np.flatnonzero(first), [0, 3, 7])
    # At the ends of the recording the edge, elsewhere the crossing between two centres.
    np.testing.assert_allclose(segments[0, 0, [0, 3, 7], 0], [[0, 1], [3, 4.5], [7, 8]])


def test_constant_sequences():
    values = np.full((4, T, K), 0.5, np.float32)
    segments, first = check(values, MASK, np.array([0.25, 0.5, 0.75, 1], np.float32))
    # At or above the threshold it is one run over the recording; an empty recording has none.
    np.testing.assert_array_equal(first[:, :, 0].all(axis=-1), np.array([[1, 1, 0, 0]] * 3 + [[0] * 4], bool))
    assert first.sum() == first[:, :, 0].sum()
    np.testing.assert_array_equal(segments[:3, 1, 0, :, 1], np.array(LENGTHS[:3], np.float32)[:, None].repeat(K, 1))


def test_padding_is_not_read():
    values = np.random.default_rng(1).uniform(0, 1, (4, T, K)).astype(np.float32)
    segments, first = compiled(values, MASK, THRESHOLDS)
    for rubbish in (np.nan, np.inf, 0.7):
        dirty = np.where(MASK[..., None], values, np.float32(rubbish))
        more = np.pad(dirty, [(0, 0), (0, 3), (0, 0)], constant_values=rubbish)
        found, begins = compiled(more, np.pad(MASK, [(0, 0), (0, 3)]), THRESHOLDS)
        np.testing.assert_array_equal(begins[:, :, :T], first)
        assert not begins[:, :, T:].any()
        np.testing.assert_array_equal(found[:, :, :T], segments)


@given(st.integers(0, 2**31 - 1))
def test_higher_thresholds_give_shorter_runs_that_lie_within_the_lower_ones(seed):
    values = np.random.default_rng(seed).uniform(0, 1, (4, T, K)).astype(np.float32)
    segments, first = (np.asarray(x) for x in compiled(values, MASK, THRESHOLDS))
    for b, j, k in np.ndindex(4, len(THRESHOLDS) - 1, K):
        wider = segments[b, j, first[b, j, :, k], k]
        for s, e in segments[b, j + 1, first[b, j + 1, :, k], k]:
            assert any(low <= s + 1e-5 and e <= high + 1e-5 for low, high in wider)
