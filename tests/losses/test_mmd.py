"""Maximum mean discrepancy against the double sums of the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import weak_references as weak
from support.derivatives import gradient
from support.sharded import on_four_devices

from tal_jax.losses.mmd import mmd

M, N, D = 8, 6, 3  # places; the samples are smaller
X_MASK, Y_MASK = np.arange(M) != 3, np.array([1, 1, 0, 1, 0, 1], bool)
compiled = jax.jit(mmd)
slopes = jax.jit(jax.grad(mmd, argnums=(0, 1)))


def samples(seed=0, shift=0.7):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(M, D)), rng.normal(size=(N, D)) + shift


def as_float32(*arrays):
    return tuple(a.astype(np.float32) for a in arrays)


def masks(m, n):
    return np.arange(M) < m, np.arange(N) < n


@pytest.mark.parametrize(
    "real", [(X_MASK, Y_MASK), masks(M, N), masks(2, 2), masks(M, 2)], ids=["gaps", "all", "two and two", "unequal"]
)
def test_values_and_gradients(real):
    x, y = samples()
    a, b = x[real[0]], y[real[1]]
    bandwidth = weak.median_distance(a, b)
    found = compiled(*as_float32(x, y), *real)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, weak.mmd(a, b, bandwidth), rtol=1e-4, atol=1e-5)
    dx, dy = slopes(*as_float32(x, y), *real)
    for found, sample, mask, f in (
        (dx, a, real[0], lambda z: weak.mmd(z, b, bandwidth)),
        (dy, b, real[1], lambda z: weak.mmd(a, z, bandwidth)),
    ):
        expected = gradient(f, sample)
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found[mask], expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(found[~mask], 0)


def test_the_bandwidth_is_a_constant_for_differentiation():
    x, y = samples()
    moving = gradient(lambda z: weak.mmd(z, y, weak.median_distance(z, y)), x)
    found, _ = slopes(*as_float32(x, y), *masks(M, N))
    assert np.abs(found - moving).max() > 1e-3


def test_scale_does_not_matter():
    x, y = samples()
    expected = compiled(*as_float32(x, y), X_MASK, Y_MASK)
    found = compiled(*as_float32(1000 * x, 1000 * y), X_MASK, Y_MASK)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_far_from_the_origin():
    x, y = samples()
    expected = compiled(*as_float32(x, y), X_MASK, Y_MASK)
    np.testing.assert_allclose(compiled(*as_float32(x + 500, y + 500), X_MASK, Y_MASK), expected, rtol=1e-2)


def test_equal_distributions_average_zero_and_others_do_not():
    rng = np.random.default_rng(1)
    x, y = as_float32(rng.normal(size=(3000, M, D)), rng.normal(size=(3000, N, D)))
    many = jax.jit(jax.vmap(mmd, in_axes=(0, 0, None, None)))
    found = np.asarray(many(x, y, X_MASK, Y_MASK))
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean()) < 5 * error
    # The biased estimate, which counts pairs of a member with itself, would be far off.
    kernels = len(weak.BANDWIDTHS)
    assert 5 * error < 0.05 * (kernels / X_MASK.sum() + kernels / Y_MASK.sum())
    assert found.min() < 0
    shifted = np.asarray(many(x, y + np.float32(1), X_MASK, Y_MASK))
    assert shifted.mean() > 20 * error


@pytest.mark.parametrize("real", [masks(1, N), masks(M, 1), masks(0, N), masks(M, 0), masks(0, 0), masks(1, 1)])
def test_fewer_than_two_members_give_zero(real):
    x, y = as_float32(*samples())
    assert compiled(x, y, *real) == 0
    for slope in slopes(x, y, *real):
        np.testing.assert_array_equal(slope, 0)


def test_identical_points():
    x, y = np.full((M, D), 0.3, np.float32), np.full((N, D), 0.3, np.float32)
    np.testing.assert_allclose(compiled(x, y, X_MASK, Y_MASK), 0, atol=1e-5)
    for slope in slopes(x, y, X_MASK, Y_MASK):
        np.testing.assert_array_equal(slope, 0)


def test_mostly_identical_points_take_the_bandwidth_one():
    x, y = np.zeros((M, D)), np.zeros((N, D))
    x[0] = 0.8
    assert weak.median_distance(x, y) == 0
    real = masks(M, N)
    np.testing.assert_allclose(compiled(*as_float32(x, y), *real), weak.mmd(x, y, 1.0), rtol=1e-4, atol=1e-6)
    dx, _ = slopes(*as_float32(x, y), *real)
    np.testing.assert_allclose(dx, gradient(lambda z: weak.mmd(z, y, 1.0), x), rtol=1e-3, atol=1e-5)


def test_own_bandwidths():
    x, y = samples()
    found = jax.jit(mmd, static_argnums=4)(*as_float32(x, y), *masks(M, N), (0.5,))
    expected = weak.mmd(x, y, weak.median_distance(x, y), multipliers=(0.5,))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("x_type", "y_type"), [("bfloat16", "bfloat16"), ("bfloat16", "float32")])
def test_float32_whatever_the_input(x_type, y_type):
    x, y = (jnp.asarray(z, t) for z, t in zip(samples(), (x_type, y_type), strict=True))
    found = compiled(x, y, X_MASK, Y_MASK)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, compiled(x.astype(np.float32), y.astype(np.float32), X_MASK, Y_MASK))


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, 1e6])
def test_padding_is_not_read(rubbish):
    x, y = as_float32(*samples())
    expected = compiled(x, y, X_MASK, Y_MASK)
    dirty = np.where(X_MASK[:, None], x, rubbish), np.where(Y_MASK[:, None], y, rubbish)
    assert compiled(*as_float32(*dirty), X_MASK, Y_MASK) == expected
    for slope, mask in zip(slopes(*as_float32(*dirty), X_MASK, Y_MASK), (X_MASK, Y_MASK), strict=True):
        assert np.isfinite(slope).all()
        np.testing.assert_array_equal(slope[~mask], 0)


def test_padding_further_order_and_exchange_change_nothing():
    x, y = as_float32(*samples())
    expected = compiled(x, y, X_MASK, Y_MASK)
    more = [np.pad(z, [(0, 5), (0, 0)], constant_values=7) for z in (x, y)]
    further = compiled(*more, np.pad(X_MASK, (0, 5)), np.pad(Y_MASK, (0, 5)))
    order = np.random.default_rng(2).permutation(M)
    for found in (
        further,
        compiled(x[order], y, X_MASK[order], Y_MASK),
        compiled(y, x, Y_MASK, X_MASK),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_four_devices_give_the_same():
    """The estimate is of the whole batch, not a mean over the devices' parts."""
    x, y = as_float32(*samples())
    (y_everywhere, y_mask), (x_split, x_mask) = on_four_devices((y, Y_MASK), (x, X_MASK))
    np.testing.assert_allclose(
        compiled(x_split, y_everywhere, x_mask, y_mask), compiled(x, y, X_MASK, Y_MASK), rtol=1e-5
    )
    found, _ = slopes(x_split, y_everywhere, x_mask, y_mask)
    np.testing.assert_allclose(found, slopes(x, y, X_MASK, Y_MASK)[0], rtol=1e-4, atol=1e-6)
