"""Soft-NMS against the plain Python loop, with ties, masks and thresholds of every detection's own."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import references

from tal_jax.ops.nms import soft_nms, top_k
from tal_jax.types import Detections

P = 7


@functools.cache
def compiled(method, agnostic, kept, power=2.0, min_score=0.0):
    return jax.jit(
        lambda found, threshold: soft_nms(
            found,
            method=method,
            threshold=threshold,
            top_k=kept,
            class_agnostic=agnostic,
            power=power,
            min_score=min_score,
        )
    )


def detections(rows):
    """[1, P] from rows (start, end, label, score, real)."""
    return Detections(
        segments=np.array([[r[:2] for r in rows]], np.float32),
        labels=np.array([[r[2] for r in rows]], np.int32),
        scores=np.array([[r[3] for r in rows]], np.float32),
        mask=np.array([[r[4] for r in rows]], bool),
    )


def check(rows, thresholds, method, agnostic, kept, power=2.0, min_score=0.0):
    found = detections(rows)
    limits = np.array([thresholds], np.float32)
    result = jax.tree.map(np.asarray, compiled(method, agnostic, kept, power, min_score)(found, limits))
    expected = references.soft_nms(
        [((r[0], r[1]), r[2], float(np.float32(r[3])), t) for r, t in zip(rows, thresholds, strict=True) if r[4]],
        top_k=kept,
        method=method,
        agnostic=agnostic,
        power=power,
        min_score=min_score,
    )
    n = len(expected)
    assert result.scores.shape == (1, min(kept, P))
    np.testing.assert_array_equal(result.mask[0], np.arange(min(kept, P)) < n)
    np.testing.assert_allclose(result.scores[0, :n], [e[2] for e in expected], rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(result.labels[0, :n], [e[1] for e in expected])
    np.testing.assert_array_equal(result.segments[0, :n], np.array([e[0] for e in expected]).reshape(n, 2))
    np.testing.assert_array_equal(result.scores[0, n:], 0)
    np.testing.assert_array_equal(result.labels[0, n:], -1)
    np.testing.assert_array_equal(result.segments[0, n:], 0)


# Whole numbers for the segments and few scores: ties, equal segments and equal overlaps are common.
row = st.tuples(
    st.integers(0, 6), st.integers(0, 6), st.integers(0, 1), st.sampled_from([0.9, 0.75, 0.5, 0.2, 0.0]), st.booleans()
).map(lambda r: (r[0], r[0] + r[1], *r[2:]))
rows_of = st.lists(row, min_size=P, max_size=P)
limits_of = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.9]), min_size=P, max_size=P)


@pytest.mark.parametrize(
    ("method", "agnostic"), [("hard", False), ("hard", True), ("linear", False), ("gaussian", True)]
)
@given(rows_of, limits_of)
def test_agrees_with_the_loop(method, agnostic, rows, limits):
    # Hard and linear decays of tied scores stay exact; the Gaussian's are told apart by a little of their own.
    if method != "hard":
        rows = [(*r[:3], r[3] * (1 + 0.013 * i), r[4]) for i, r in enumerate(rows)]
    check(rows, limits, method, agnostic, kept=P)


@given(rows_of, limits_of)
def test_agrees_with_the_loop_when_few_are_kept(rows, limits):
    rows = [(*r[:3], r[3] * (1 + 0.013 * i), r[4]) for i, r in enumerate(rows)]
    check(rows, limits, "gaussian", False, kept=3, power=2.5, min_score=0.3)


def test_ties_go_to_the_lower_index():
    rows = [(i, i + 1, 0, 0.5, True) for i in range(P)]
    result = compiled("gaussian", False, P)(detections(rows), np.zeros((1, P), np.float32))
    np.testing.assert_array_equal(result.segments[0, :, 0], range(P))


def test_an_overlap_of_exactly_the_threshold_does_not_count():
    found = detections([(0, 4, 0, 0.9, True), (0, 2, 0, 0.8, True), (1, 3, 0, 0.0, True), (4, 6, 0, 0.7, True)])
    result = compiled("hard", False, 4, min_score=1e-6)(found, np.full((1, 4), 0.5, np.float32))
    np.testing.assert_allclose(result.scores, [[0.9, 0.8, 0.7, 0]], rtol=1e-6)


def test_hard_nms_by_hand():
    found = detections([(0, 4, 0, 0.9, True), (1, 4, 0, 0.8, True), (1, 4, 1, 0.7, True), (5, 6, 0, 0.1, True)])
    limit = np.full((1, 4), 0.5, np.float32)
    result = compiled("hard", False, 4, min_score=1e-6)(found, limit)
    np.testing.assert_array_equal(result.mask, [[True, True, True, False]])
    np.testing.assert_allclose(result.scores, [[0.9, 0.7, 0.1, 0]], rtol=1e-6)
    result = compiled("hard", True, 4, min_score=1e-6)(found, limit)
    np.testing.assert_allclose(result.scores, [[0.9, 0.1, 0, 0]], rtol=1e-6)


def test_recordings_do_not_touch_each_other_and_all_masked_gives_nothing():
    rows = [(0, 4 + i, 0, 0.9 - 0.1 * i, True) for i in range(P)]
    one, none = detections(rows), detections([(*r[:4], False) for r in rows])
    both = jax.tree.map(lambda a, b: np.concatenate([a, b]), one, none)
    run = compiled("gaussian", False, P)
    result, alone = run(both, np.zeros((2, P), np.float32)), run(one, np.zeros((1, P), np.float32))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[:1], y), result, alone)
    assert not np.asarray(result.mask)[1].any()
    np.testing.assert_array_equal(np.asarray(result.scores)[1], 0)


def test_padding_further_changes_nothing():
    rows = [(0, 4 + i, i % 2, 0.9 - 0.1 * i, True) for i in range(P)]
    padded = detections([*rows, *[(0, 5, 0, 1.0, False)] * 4])
    run = compiled("gaussian", False, P)
    result, expected = (
        run(padded, np.zeros((1, P + 4), np.float32)),
        run(detections(rows), np.zeros((1, P), np.float32)),
    )
    jax.tree.map(np.testing.assert_array_equal, result, expected)


best = jax.jit(top_k, static_argnums=1)


@given(rows_of, st.sampled_from([1, 3, P + 2]))
def test_top_k(rows, k):
    found = jax.tree.map(np.asarray, best(detections(rows), k))
    n = min(k, P)
    assert found.segments.shape == (1, n, 2)
    order = sorted([i for i in range(P) if rows[i][4]], key=lambda i: (-rows[i][3], i))[:n]
    np.testing.assert_array_equal(found.mask[0], np.arange(n) < len(order))
    for place, i in enumerate(order):
        assert tuple(found.segments[0, place]) == rows[i][:2]
        assert found.labels[0, place] == rows[i][2]
        np.testing.assert_allclose(found.scores[0, place], rows[i][3], rtol=1e-6)


def test_unknown_method():
    with pytest.raises(ValueError, match="cubic"):
        soft_nms(detections([(0, 1, 0, 0.5, True)]), method="cubic")
