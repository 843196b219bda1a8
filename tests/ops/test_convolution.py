"""Both forms of the convolution against the loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import references
from support.derivatives import gradient

from tal_jax.ops.convolution import conv1d, conv1d_of_whole_by_group, halving_by_group

# (T, C, O, taps) and the options: stride, dilation, groups, padding.
CASES = [
    ((9, 4, 6, 3), {"padding": 1}),
    ((9, 4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}),
    ((11, 4, 4, 3), {"stride": 3, "dilation": 2, "padding": 2, "groups": 4}),
    ((8, 6, 3, 8), {"groups": 3}),
    ((5, 2, 2, 1), {"stride": 2}),
    ((7, 2, 4, 2), {"dilation": 5, "padding": 0}),
]
MINIMAL = [((9, 4, 6, 3), {"padding": 1}), ((11, 3, 2, 3), {"dilation": 2, "padding": 2})]
ALL = [(*case, form) for case in CASES for form in ("shifted", "lax")] + [(*case, "winograd") for case in MINIMAL]


@pytest.mark.parametrize(("shape", "options", "implementation"), ALL)
def test_values_and_gradients(shape, options, implementation):
    t, c, o, taps = shape
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, t, c))
    kernel = rng.normal(size=(taps, c // options.get("groups", 1), o))
    expected = np.stack([references.conv1d(row, kernel, **options) for row in x])
    cotangent = rng.normal(size=expected.shape)

    @jax.jit
    def forward_and_back(x, kernel, cotangent):
        y, pull = jax.vjp(lambda x, k: conv1d(x, k, implementation=implementation, **options), x, kernel)
        return y, *pull(cotangent)

    y, dx, dkernel = forward_and_back(*(z.astype(np.float32) for z in (x, kernel, cotangent)))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)

    def scalar(x, kernel):
        return sum(np.sum(references.conv1d(r, kernel, **options) * g) for r, g in zip(x, cotangent, strict=True))

    np.testing.assert_allclose(dx, gradient(lambda z: scalar(z, kernel), x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dkernel, gradient(lambda z: scalar(x, z), kernel), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("implementation", ["shifted", "lax", "auto"])
def test_leading_axes_are_kept(implementation):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 3, 6, 4)).astype(np.float32)
    kernel = rng.normal(size=(3, 2, 4)).astype(np.float32)
    y = conv1d(x, kernel, groups=2, padding=1, implementation=implementation)
    assert y.shape == (2, 3, 6, 4)
    np.testing.assert_allclose(y[1, 2], references.conv1d(x[1, 2], kernel, groups=2, padding=1), rtol=1e-4, atol=1e-5)
    assert conv1d(x[0, 0], kernel, groups=2, implementation=implementation).shape == (4, 4)


@given(st.integers(1, 23), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=10)
def test_winograd_is_the_convolution(length, dilation, seed):
    """Values and gradients for lengths that do not divide into tiles, and dilations beyond the sequence."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, length, 5)).astype(np.float32)
    kernel = rng.normal(size=(3, 5, 4)).astype(np.float32)
    cotangent = rng.normal(size=(2, length, 4)).astype(np.float32)
    options = {"dilation": dilation, "padding": dilation}

    @jax.jit
    def both(x, kernel, cotangent):
        found = []
        for form in ("lax", "winograd"):
            y, pull = jax.vjp(lambda x, k, form=form: conv1d(x, k, **options, implementation=form), x, kernel)
            found.append((y, *pull(cotangent)))
        return found

    for a, b in zip(*both(x, kernel, cotangent), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=2e-5 * max(1.0, float(np.abs(a).max())))


def test_winograd_says_what_it_cannot_do():
    with pytest.raises(ValueError, match="winograd needs"):
        conv1d(np.zeros((1, 5, 1), np.float32), np.zeros((3, 1, 1), np.float32), stride=2, implementation="winograd")


def test_unknown_implementation():
    with pytest.raises(ValueError, match="fast"):
        conv1d(np.zeros((1, 3, 1), np.float32), np.zeros((1, 1, 1), np.float32), implementation="fast")


def test_of_the_whole_is_the_convolution_with_one_output():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 8, 4)).astype(np.float32)
    kernel = rng.normal(size=(8, 2, 6)).astype(np.float32)
    cotangent = rng.normal(size=(2, 3, 3)).astype(np.float32)
    expected = with_gradients(lambda x, k: by_group_of(conv1d(x, k, groups=2))[:, :, 0], x, kernel, cotangent)
    found = with_gradients(lambda x, k: conv1d_of_whole_by_group(by_group_of(x), k), x, kernel, cotangent)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def with_gradients(f, x, kernel, cotangent):
    """f's value and its gradients."""

    @jax.jit
    def run(x, kernel, cotangent):
        y, pull = jax.vjp(f, x, kernel)
        return y, *pull(cotangent)

    return run(x, kernel, cotangent)


def by_group_of(x):
    """[N, T, C] -> [2, N, T, C / 2]."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], 2, -1), -2, 0)


def test_halving_is_the_convolution_with_stride_two():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3, 8, 4)).astype(np.float32)
    kernel = rng.normal(size=(3, 2, 6)).astype(np.float32)
    cotangent = rng.normal(size=(2, 3, 4, 3)).astype(np.float32)

    def halved(x, kernel):
        return halving_by_group(by_group_of(x[:, ::2]), by_group_of(x[:, 1::2]), kernel)

    def strided(x, kernel):
        return by_group_of(conv1d(x, kernel, groups=2, stride=2, padding=1))

    for a, b in zip(*(with_gradients(f, x, kernel, cotangent) for f in (strided, halved)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
