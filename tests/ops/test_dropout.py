"""Dropout: the share it drops, what it keeps, and that expectation stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.ops.dropout import drop


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_share_and_scale(rate):
    x = np.random.default_rng(0).uniform(1, 2, (400, 500)).astype(np.float32)
    y = np.asarray(drop(x, rate, jax.random.key(0)))
    kept = y != 0
    assert np.mean(kept) == pytest.approx(1 - rate, abs=4 * np.sqrt(rate * (1 - rate) / x.size) + 1e-6)
    np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=1e-6)
    # No pattern along either axis.
    for axis in (0, 1):
        assert np.abs(kept.mean(axis=axis) - (1 - rate)).max() < 0.13


def test_another_key_drops_others_and_gradients_follow():
    x = jnp.ones((50, 50))
    a, b, again = (drop(x, 0.5, jax.random.key(i)) for i in (0, 1, 0))
    np.testing.assert_array_equal(a, again)
    assert (a != b).any()
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(drop(x, 0.5, jax.random.key(0))))(x), a)
    assert drop(x.astype(jnp.bfloat16), 0.5, jax.random.key(0)).dtype == jnp.bfloat16


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_the_two_elements_of_a_draw_are_independent(channels):
    kept = np.asarray(drop(jnp.ones((20_000, channels)), 0.5, jax.random.key(0))) != 0
    assert kept.shape == (20_000, channels)
    both = np.cov(kept.astype(float), rowvar=False).reshape(channels, channels)
    np.testing.assert_allclose(both, 0.25 * np.eye(channels), atol=0.01)
