"""Pools with the padding of PyTorch's, and a convolution with a bias before its norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.encoders.layers import ConvNorm, average_pool, max_pool


@pytest.fixture(scope="module")
def pools():
    return pytest.importorskip("torch").nn.functional


def by_torch(pool, x, *args, **kwargs):
    import torch

    return pool(torch.from_numpy(x).permute(0, 3, 1, 2), *args, **kwargs).permute(0, 2, 3, 1).numpy()


def images(side):
    return np.random.default_rng(side).normal(size=(2, side, side, 3)).astype(np.float32) - 2


@pytest.mark.parametrize("side", [8, 9, 7, 3])
def test_the_far_side_alone_is_padded(pools, side):
    x = images(side)
    expected = by_torch(pools.max_pool2d, x, 3, 2, ceil_mode=True)
    np.testing.assert_array_equal(max_pool(x, (3, 3), (2, 2), "ceil"), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_averages_count_zeros(pools, stride):
    x = images(7)
    expected = by_torch(pools.avg_pool2d, x, 3, stride, padding=1)
    np.testing.assert_allclose(average_pool(x, (3, 3), (stride, stride)), expected, rtol=1e-5)


@pytest.mark.parametrize("side", [6, 7])
def test_averages_of_what_is_inside(pools, side):
    x = images(side)
    expected = by_torch(pools.avg_pool2d, x, 2, 2, ceil_mode=True, count_include_pad=False)
    np.testing.assert_allclose(average_pool(x, (2, 2), (2, 2), "ceil", zeros=False), expected, rtol=1e-5)


def test_averages_have_gradients():
    found = jax.jit(jax.grad(lambda x: average_pool(x, (3, 3), (2, 2)).sum()))(jnp.asarray(images(5)))
    counts = np.array([1, 2, 1, 2, 1])
    np.testing.assert_allclose(found[0, ..., 0], np.outer(counts, counts) / 9, rtol=1e-6)


def test_largest_values_have_gradients():
    x = jnp.asarray(np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1))
    found = jax.jit(jax.grad(lambda x: max_pool(x, (3, 3), (2, 2), "ceil").sum()))(x)
    assert [int(i) for i in jnp.flatnonzero(found)] == [12, 14, 22, 24]


def test_averages_in_float32():
    ones = jnp.full((1, 32, 32, 1), 1.01, jnp.bfloat16)
    found = average_pool(ones, (32, 32), padding=((0, 0), (0, 0)))
    assert found.dtype == jnp.bfloat16
    assert found[0, 0, 0, 0] == ones[0, 0, 0, 0]


def test_a_bias_before_the_norm():
    brick = ConvNorm(4, (1, 1), bias=True)
    x = jnp.asarray(images(2))
    variables = brick.init(jax.random.key(0), x)
    variables["params"]["conv"]["bias"] += 100.0
    plain = ConvNorm(4, (1, 1))
    expected = plain.apply(jax.tree.map(lambda x: x, variables), x)
    assert np.abs(brick.apply(variables, x) - expected).max() > 50
