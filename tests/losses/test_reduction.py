"""The masked mean and the draw of negatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tal_jax.losses.reduction import draw, masked_mean

SHAPE = (3, 4)
mean_and_gradient = jax.jit(jax.value_and_grad(masked_mean))
draw_at_random = jax.jit(draw)
draw_expectation = jax.jit(functools.partial(draw, rng=None))

eighths = st.integers(-80, 80).map(lambda x: x / 8)


@given(hnp.arrays(np.float32, SHAPE, elements=eighths), hnp.arrays(np.float32, SHAPE, elements=eighths.map(abs)))
def test_mean_and_gradient(values, weights):
    total = 0.0
    for v, w in zip(values.ravel(), weights.ravel(), strict=True):
        total += float(v) * float(w)
    size = float(weights.astype(float).sum())
    value, gradient = mean_and_gradient(values, weights)
    np.testing.assert_allclose(value, total / size if size else 0, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, weights / size if size else np.zeros(SHAPE), rtol=1e-5)


@pytest.mark.parametrize("kind", [bool, np.float32])
@pytest.mark.parametrize("rubbish", [np.nan, np.inf])
def test_what_is_not_real_is_not_read(rubbish, kind):
    values = np.array([1, rubbish, 3], np.float32)
    value, gradient = mean_and_gradient(values, np.array([1, 0, 1], kind))
    assert value == 2
    np.testing.assert_array_equal(gradient, [0.5, 0, 0.5])
    value, gradient = mean_and_gradient(values, np.zeros(3, kind))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@given(hnp.arrays(bool, SHAPE), st.integers(0, 13), st.integers(0, 2**31 - 1))
def test_draw_takes_the_exact_number_from_the_pool(pool, count, seed):
    weights = np.asarray(draw_at_random(pool, np.float32(count), jax.random.key(seed)))
    assert weights.shape == SHAPE
    assert weights.dtype == np.float32
    assert set(np.unique(weights)) <= {0.0, 1.0}
    assert not weights[~pool].any()
    assert weights.sum() == min(count, pool.sum())


def test_expected_weights_are_the_mean_of_many_draws():
    pool = np.array([[True, False, True, True], [True, True, False, False], [False, False, True, True]])
    count = np.float32(3)
    draws = jax.jit(jax.vmap(lambda key: draw(pool, count, key)))(jax.random.split(jax.random.key(0), 4000))
    expected = np.asarray(draw_expectation(pool, count))
    np.testing.assert_allclose(expected, np.where(pool, 3 / 7, 0), rtol=1e-6)
    np.testing.assert_allclose(np.mean(draws, axis=0), expected, atol=6 * 0.5 / np.sqrt(4000))


@given(hnp.arrays(bool, SHAPE), st.integers(0, 13))
def test_expected_weights(pool, count):
    weights = draw_expectation(pool, np.float32(count))
    np.testing.assert_allclose(np.sum(weights), min(count, pool.sum()), rtol=1e-6)
    np.testing.assert_allclose(weights, np.where(pool, min(1, count / max(pool.sum(), 1)), 0), rtol=1e-6)


def test_draws_differ_between_keys():
    pool = jnp.ones((8, 8), bool)
    one, other = (draw_at_random(pool, np.float32(20), jax.random.key(i)) for i in range(2))
    assert np.any(np.asarray(one) != np.asarray(other))
