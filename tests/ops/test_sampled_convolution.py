"""The convolution of a sampled sequence: both forms against interpolation and convolution in loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import references
from support.derivatives import gradient

from tal_jax.ops import sampled_convolution
from tal_jax.ops.sampled_convolution import conv1d_at

T, GROUPS = 6, 2


def reference(x, kernel, positions, **options):
    """[B, T, C] -> [G, B P N', O / G]."""
    rows = []
    for row, proposals in zip(x, positions, strict=True):
        for points in proposals:
            sampled = np.stack([references.interpolate(row, p) for p in points])
            rows.append(references.conv1d(sampled, kernel, groups=GROUPS, **options))
    y = np.concatenate(rows)
    return np.moveaxis(y.reshape(len(y), GROUPS, -1), 1, 0)


@pytest.mark.parametrize("implementation", ["sampled", "projected"])
@pytest.mark.parametrize("options", [{"stride": 2, "padding": 1}, {"stride": 4}, {"padding": 2}], ids=str)
def test_values_and_gradients(implementation, options, monkeypatch):
    monkeypatch.setattr(sampled_convolution, "CHUNK", 5)  # several chunks, the last one short
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, T, 4)), rng.normal(size=(3, 2, 4))
    positions = rng.uniform(-2, T + 2, (2, 3, 7)).astype(np.float32)  # on both sides of the ends
    positions[0, 0] = [0, 0.5, T - 0.5, T, T / 2, -0.5, T + 0.5]
    expected = reference(x, kernel, positions.astype(float), **options)
    cotangent = rng.normal(size=expected.shape)

    @jax.jit
    def forward_and_back(x, kernel, cotangent):
        def f(x, kernel):
            return conv1d_at(x, kernel, positions, groups=GROUPS, implementation=implementation, **options)

        y, pull = jax.vjp(f, x, kernel)
        return y, *pull(cotangent)

    y, dx, dkernel = forward_and_back(*(z.astype(np.float32) for z in (x, kernel, cotangent)))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)

    def scalar(x, kernel):
        return np.sum(reference(x, kernel, positions.astype(float), **options) * cotangent)

    np.testing.assert_allclose(dx, gradient(lambda z: scalar(z, kernel), x), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(dkernel, gradient(lambda z: scalar(x, z), kernel), rtol=1e-3, atol=1e-4)


@given(st.integers(1, 9), st.integers(1, 3), st.integers(3, 9), st.integers(1, 4), st.integers(0, 2**31))
@settings(max_examples=7)
def test_both_forms_are_alike(t, proposals, points, stride, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, t, 4)).astype(np.float32)
    kernel = rng.normal(size=(3, 2, 6)).astype(np.float32)
    positions = rng.uniform(-1, t + 1, (2, proposals, points)).astype(np.float32)

    @jax.jit
    def both(x, kernel, positions):
        found = []
        for form in ("sampled", "projected"):
            options = {"stride": stride, "padding": 1, "groups": GROUPS, "implementation": form}
            y, pull = jax.vjp(lambda x, k, options=options: conv1d_at(x, k, positions, **options), x, kernel)
            found.append((y, *pull(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))))
        return found

    for a, b in zip(*both(x, kernel, positions), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("implementation", ["sampled", "projected"])
def test_bfloat16_stays_close(implementation):
    rng = np.random.default_rng(1)
    x, kernel = rng.normal(size=(1, T, 4)).astype(np.float32), rng.normal(size=(3, 2, 4)).astype(np.float32)
    positions = rng.uniform(0, T, (1, 2, 8)).astype(np.float32)
    options = {"stride": 2, "padding": 1, "groups": GROUPS, "implementation": implementation}
    y = conv1d_at(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), positions, **options)
    assert y.dtype == jnp.bfloat16
    expected = np.asarray(conv1d_at(x, kernel, positions, **options))
    np.testing.assert_allclose(np.asarray(y, np.float32), expected, atol=0.02 * np.abs(expected).max())


def test_unknown_implementation():
    with pytest.raises(ValueError, match="fast"):
        conv1d_at(
            np.ones((1, 2, 1), np.float32), np.ones((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32),
            implementation="fast",
        )  # fmt: skip
