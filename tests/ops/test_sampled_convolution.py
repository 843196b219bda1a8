"""The convolution of a sampled sequence against interpolation and convolution in loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import references
from support.derivatives import gradient

from tal_jax.ops import sampled_convolution
from tal_jax.ops.convolution import conv1d
from tal_jax.ops.sampled_convolution import conv1d_at, halving_at
from tal_jax.ops.sampling import interpolate

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


@pytest.mark.parametrize("options", [{"stride": 2, "padding": 1}, {"stride": 4}, {"padding": 2}], ids=str)
def test_values_and_gradients(options, monkeypatch):
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
            return conv1d_at(x, kernel, positions, groups=GROUPS, **options)

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
def test_it_is_interpolation_and_convolution(t, proposals, points, stride, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, t, 4)).astype(np.float32)
    kernel = rng.normal(size=(3, 2, 6)).astype(np.float32)
    positions = rng.uniform(-1, t + 1, (2, proposals, points)).astype(np.float32)
    options = {"stride": stride, "padding": 1, "groups": GROUPS}

    def one_by_one(x, kernel):
        y = conv1d(interpolate(x, positions), kernel, **options, implementation="lax")
        return jnp.moveaxis(y.reshape(-1, GROUPS, 3), 1, 0)

    @jax.jit
    def both(x, kernel):
        found = []
        for form in (one_by_one, lambda x, k: conv1d_at(x, k, positions, **options)):
            y, pull = jax.vjp(form, x, kernel)
            found.append((y, *pull(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))))
        return found

    for a, b in zip(*both(x, kernel), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)


def forms_of_halving(x, kernels, positions, parts, monkeypatch):
    """Values and gradients of the form for CPUs, and of the one for everything else."""

    def run(x, kernels):
        y, pull = jax.vjp(lambda x, k: halving_at(x, k, positions, parts, groups=GROUPS), x, kernels)
        return y, pull(jax.tree.map(jnp.cos, y))

    found = [jax.jit(run)(x, kernels)]

    def other(cpu, elsewhere, *args, constants):
        return elsewhere(*args, *constants)

    monkeypatch.setattr(sampled_convolution, "by_platform", other)
    return [*found, jax.jit(lambda x, kernels: run(x, kernels))(x, kernels)]


def test_halving_of_parts_of_the_points(monkeypatch):
    """Against loops: even and odd outputs of every part, in both forms."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, T, 4)).astype(np.float32)
    kernels = [rng.normal(size=(3, 2, width)).astype(np.float32) for width in (4, 6)]
    positions = rng.uniform(-1, T + 1, (2, 3, 12)).astype(np.float32)
    parts = [slice(4), slice(None)]
    forms = forms_of_halving(x, kernels, positions, parts, monkeypatch)
    for values, _ in forms:
        for (even, odd), kernel, part in zip(values, kernels, parts, strict=True):
            y = reference(x, kernel.astype(float), positions[:, :, part].astype(float), stride=2, padding=1)
            y = y.reshape(GROUPS, 6, -1, 2, y.shape[-1])
            np.testing.assert_allclose(even, y[:, :, :, 0], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(odd, y[:, :, :, 1], rtol=1e-4, atol=1e-5)
    for a, b in zip(*(jax.tree.leaves(gradients) for _, gradients in forms), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_bfloat16_stays_close():
    rng = np.random.default_rng(1)
    x, kernel = rng.normal(size=(1, T, 4)).astype(np.float32), rng.normal(size=(3, 2, 4)).astype(np.float32)
    positions = rng.uniform(0, T, (1, 2, 8)).astype(np.float32)
    options = {"stride": 2, "padding": 1, "groups": GROUPS}
    y = conv1d_at(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), positions, **options)
    assert y.dtype == jnp.bfloat16
    expected = np.asarray(conv1d_at(x, kernel, positions, **options))
    np.testing.assert_allclose(np.asarray(y, np.float32), expected, atol=0.02 * np.abs(expected).max())
