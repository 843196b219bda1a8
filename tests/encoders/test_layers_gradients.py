"""Batch norm and max pool against what JAX makes of their plain definitions, with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tal_jax.encoders.layers_gradients import largest, normalised

CHANNELS = 5


def close(found, expected, tolerance):
    for mine, theirs in zip(found, expected, strict=True):
        scale = max(float(jnp.abs(theirs).max()), 1e-3)
        np.testing.assert_allclose(mine.astype(jnp.float32), theirs.astype(jnp.float32), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("dtype", "offset", "tolerance"), [(jnp.float32, 0, 1e-5), (jnp.float32, 30, 2e-5), (jnp.bfloat16, 1, 2e-2)]
)
def test_batch_norm(dtype, offset, tolerance):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 6, 7, CHANNELS)) + offset, dtype)
    scale, bias = (jnp.asarray(rng.normal(size=CHANNELS), jnp.float32) for _ in range(2))
    weight = jnp.asarray(rng.normal(size=x.shape), jnp.float32)

    def plain(x, scale, bias):
        wide = x.astype(jnp.float64 if jax.config.read("jax_enable_x64") else jnp.float32)
        mean, var = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
        y = (wide - mean.reshape(1, 1, 1, -1)) * (scale * jax.lax.rsqrt(var + 1e-5)).reshape(1, 1, 1, -1)
        return (y + bias.reshape(1, 1, 1, -1)).astype(x.dtype), mean, var

    def loss(form):
        return lambda *args: (form(*args)[0].astype(jnp.float32) * weight).sum()

    close(normalised(x, scale, bias, 1e-5), plain(x, scale, bias), tolerance)
    mine = jax.jit(jax.grad(loss(lambda *args: normalised(*args, 1e-5)), (0, 1, 2)))(x, scale, bias)
    assert [g.dtype for g in mine] == [dtype, jnp.float32, jnp.float32]
    close(mine, jax.grad(loss(plain), (0, 1, 2))(x, scale, bias), tolerance)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1))
def test_max_pool_with_equal_values(y, x, window, stride, other, pad):
    """Few values, so that many windows have several largest ones."""
    sizes, strides = (window, min(window + 1, 3)), (stride, other)
    pads = tuple((min(pad, k - 1), min(pad, k - 1)) for k in sizes)
    if min(n + sum(p) - k for n, k, p in zip((y, x), sizes, pads, strict=True)) < 0:
        return
    rng = np.random.default_rng(y * 10 + x)
    image = jnp.asarray(rng.integers(0, 3, size=(2, y, x, 3)), jnp.float32)

    def plain(image):
        around = ((0, 0), *pads, (0, 0))
        return jax.lax.reduce_window(image, -jnp.inf, jax.lax.max, (1, *sizes, 1), (1, *strides, 1), around)

    expected, back = jax.vjp(plain, image)
    found, own = jax.vjp(lambda image: largest(image, sizes, strides, pads), image)
    np.testing.assert_array_equal(found, expected)
    cotangent = jnp.asarray(rng.integers(-4, 5, size=expected.shape), jnp.float32)  # whose sums are exact
    np.testing.assert_array_equal(own(cotangent)[0], back(cotangent)[0])
