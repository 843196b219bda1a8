"""Pooling weights against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import weak_references as weak
from support.derivatives import gradient

from tal_jax.ops.pooling import mean_weights, top_weights

T, K = 7, 2
LENGTHS = (7, 4, 1, 0)
MASK = np.arange(T)[None] < np.array(LENGTHS)[:, None]
compiled = jax.jit(top_weights, static_argnums=2)


def test_mean_weights():
    weights = np.asarray(mean_weights(MASK))
    assert weights.shape == (4, T, 1)
    assert weights.dtype == np.float32
    for row, n in zip(weights[..., 0], LENGTHS, strict=True):
        np.testing.assert_allclose(row, [1 / n if i < n else 0 for i in range(T)], rtol=1e-6)


# Few different values: most recordings have ties.
@pytest.mark.parametrize("top", [1, 2, 3, 100])
@given(values=hnp.arrays(np.float32, (4, T, K), elements=st.integers(-2, 2)))
def test_top_weights(values, top):
    weights = np.asarray(compiled(values, MASK, top))
    assert weights.dtype == np.float32
    for b, k in np.ndindex(4, K):
        n = LENGTHS[b]
        expected = weak.votes(values[b, :n, k], top) if n else []
        np.testing.assert_allclose(weights[b, :n, k], expected, rtol=1e-6)
        np.testing.assert_array_equal(weights[b, n:, k], 0)


def test_of_equal_values_the_earlier_ones_vote():
    values = np.array([2, 5, 5, 1, 5, 0, 0], np.float32)[None, :, None]
    weights = compiled(values, np.ones((1, T), bool), 3)  # ceil(7 / 3) = 3 votes
    np.testing.assert_allclose(weights[0, :, 0], np.array([0, 1, 1, 0, 1, 0, 0]) / 3, rtol=1e-6)
    weights = compiled(values, np.ones((1, T), bool), 4)
    np.testing.assert_allclose(weights[0, :, 0], np.array([0, 1, 1, 0, 0, 0, 0]) / 2, rtol=1e-6)


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, 9])
def test_padding_neither_votes_nor_counts(rubbish):
    values = np.random.default_rng(0).normal(size=(4, T, K)).astype(np.float32)
    expected = compiled(values, MASK, 2)
    np.testing.assert_array_equal(compiled(np.where(MASK[..., None], values, rubbish), MASK, 2), expected)
    more = np.pad(values, [(0, 0), (0, 5), (0, 0)], constant_values=rubbish)
    further = compiled(more, np.pad(MASK, [(0, 0), (0, 5)]), 2)
    np.testing.assert_array_equal(further[:, :T], expected)
    np.testing.assert_array_equal(further[:, T:], 0)


def test_weights_are_constants_for_differentiation():
    """The gradient of the pooled value is the weights themselves."""
    values = np.random.default_rng(1).normal(size=(4, T, K))

    def reference(values):
        rows = [values[b, :n, k] for b, n in enumerate(LENGTHS[:3]) for k in range(K)]
        return sum(weak.votes(row, 3) @ row for row in rows)

    def other(values):
        return jnp.sum(top_weights(values, MASK, 3) * np.arange(T, dtype=np.float32)[None, :, None])

    found = jax.jit(jax.grad(lambda v: jnp.sum(top_weights(v, MASK, 3) * v)))(values.astype(np.float32))
    np.testing.assert_allclose(found, gradient(reference, values), atol=1e-4)
    np.testing.assert_array_equal(jax.jit(jax.grad(other))(values.astype(np.float32)), 0)
