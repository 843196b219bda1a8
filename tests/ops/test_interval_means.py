"""Integrals, means, contrasts and smoothing of sequences against sums over fine grids and loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import weak_references as weak
from support.derivatives import gradient

from tal_jax.ops.interval_means import cumulative_sum, inner_outer, integral, mean, smooth

T, K = 6, 2
LENGTHS = (6, 4)
MASK = np.arange(T)[None] < np.array(LENGTHS)[:, None]
DURATION = np.array(LENGTHS, np.float32)
CELLS = 16  # per snippet, of the fine grid

compiled_integral = jax.jit(lambda x, a, b: integral(cumulative_sum(x, MASK), a, b))
compiled_mean = jax.jit(lambda x, a, b: mean(cumulative_sum(x, MASK), a, b, DURATION))
compiled_areas = jax.jit(lambda x, z: inner_outer(cumulative_sum(x, MASK), z, DURATION, inflation=0.25))
compiled_smooth = jax.jit(smooth)


def sequences(seed=0):
    return np.random.default_rng(seed).normal(size=(2, T, K))


def riemann(x, a, b):
    """Sum over the cells of a fine grid with midpoints between a and b, both multiples of a cell."""
    low, high = min(a, b), max(a, b)
    total = 0.0
    for i in range(round((high - low) * CELLS)):
        t = low + (i + 0.5) / CELLS
        if 0 <= t < len(x):
            total += x[int(t)] / CELLS
    return total if a <= b else -total


values = hnp.arrays(np.float32, (2, T, K), elements=st.floats(-8, 8, width=16))
positions = hnp.arrays(np.float32, (2, 4), elements=st.integers(-3 * CELLS, 9 * CELLS).map(lambda n: n / CELLS))


@given(values, positions, positions)
def test_integral_is_the_riemann_sum(x, a, b):
    found = np.asarray(compiled_integral(x, a, b))
    assert found.shape == (2, 4, K)
    for i, j, k in np.ndindex(*found.shape):
        expected = riemann(x[i, : LENGTHS[i], k].astype(float), float(a[i, j]), float(b[i, j]))
        np.testing.assert_allclose(found[i, j, k], expected, rtol=1e-5, atol=1e-4)


@given(values, positions, positions)
def test_mean_is_the_riemann_sum_over_the_part_in_the_recording(x, a, b):
    found = np.asarray(compiled_mean(x, a, b))
    for i, j, k in np.ndindex(*found.shape):
        low, high = (min(max(float(p), 0.0), LENGTHS[i]) for p in (a[i, j], b[i, j]))
        expected = riemann(x[i, :, k].astype(float), low, high) / (high - low) if high > low else 0.0
        np.testing.assert_allclose(found[i, j, k], expected, rtol=1e-4, atol=1e-3)


@given(
    hnp.arrays(np.float32, (2, T, K), elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.float32, (2, 4, 2), elements=st.floats(-20, 20, width=32)),
)
def test_means_stay_within_the_sequence(x, segments):
    """Any segment, also swapped, empty, tiny or outside: finite, and in [0, 1] where the sequence is."""
    for area in compiled_areas(x, segments):
        assert np.isfinite(area).all()
        # The shortest length that counts, a thousandth, magnifies rounding.
        np.testing.assert_array_less(-5e-3, area)
        np.testing.assert_array_less(area, 1 + 5e-3)


# Off whole positions, where the slope of the integral jumps; wide, beyond either end or both, within one snippet.
SEGMENTS = np.array([[0.3, 2.8], [1.2, 5.7], [-2.3, 1.6], [3.3, 9.1], [-1.7, 8.2], [2.2, 2.7]])
EMPTY = np.array([[3.3, 3.3], [4.7, 1.2], [-9.3, -4.4], [11.3, 14.2], [-0.7, -0.2]])


@pytest.mark.parametrize("segments", [SEGMENTS, EMPTY], ids=["non-empty", "empty inside"])
def test_areas_and_their_gradients(segments):
    x = sequences()
    both = np.stack([segments, segments[::-1]])
    cotangent = np.random.default_rng(1).normal(size=(2, *both.shape[:2], K))

    def reference(x, segments):
        found = np.zeros(cotangent.shape)
        for b, n, k in np.ndindex(*found.shape[1:]):
            found[:, b, n, k] = weak.inner_outer(x[b, : LENGTHS[b], k], *segments[b, n], 0.25)
        return found

    @jax.jit
    def forward_and_back(x, segments, cotangent):
        areas, pull = jax.vjp(lambda x, z: jnp.stack(compiled_areas(x, z)), x, segments)
        return areas, *pull(cotangent)

    areas, dx, dz = forward_and_back(*(z.astype(np.float32) for z in (x, both, cotangent)))
    np.testing.assert_allclose(areas, reference(x, both), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dx, gradient(lambda z: np.sum(reference(z, both) * cotangent), x), rtol=1e-3, atol=1e-4)
    # Where both ends are the same the area has a kink.
    usual = both[..., 0] != both[..., 1]
    expected = gradient(lambda z: np.sum(reference(x, z) * cotangent), both)
    assert np.abs(expected[usual]).max() > 0
    np.testing.assert_allclose(dz[usual], expected[usual], rtol=1e-3, atol=1e-4)
    assert np.isfinite(dz).all()


def test_areas_by_hand():
    x = np.array([[0, 1, 1, 0.5, 0, 0], [1, 1, 1, 1, 1, 1]], np.float32)[..., None]
    inside = np.array([[[1, 3], [2, 3]], [[0, 4], [-3, 40]]], np.float32)
    inner, outer = jax.jit(lambda x, z: inner_outer(cumulative_sum(x, MASK), z, DURATION, inflation=0.25))(x, inside)
    np.testing.assert_allclose(inner[..., 0], [[1, 1], [1, 1]])
    # One snippet on either side at least; the second recording has none left around the segment.
    np.testing.assert_allclose(outer[..., 0], [[0.25, 0.75], [0, 0]])


def test_a_recording_of_one_snippet_and_one_of_none():
    x = np.full((2, T, 1), 0.75, np.float32)
    mask = np.arange(T)[None] < np.array([[1], [0]])
    segments = np.array([[[0.25, 0.75], [-3, 5]], [[0, 1], [-3, 5]]], np.float32)

    @jax.jit
    def areas(x, segments):
        return inner_outer(cumulative_sum(x, mask), segments, np.array([1, 0], np.float32), inflation=0.25)

    inner, outer = areas(x, segments)
    np.testing.assert_allclose(inner[..., 0], [[0.375, 0.75], [0, 0]])  # half a snippet counts half
    np.testing.assert_allclose(outer[..., 0], [[0.375, 0], [0, 0]])
    slopes = jax.grad(lambda *a: sum(jnp.sum(z) for z in areas(*a)), argnums=(0, 1))(x, segments)
    assert all(np.isfinite(z).all() for z in slopes)


@pytest.mark.parametrize("sliver", [0.5, 0.01, 1.1e-3, 1e-4])
def test_the_gradient_of_a_sliver_is_bounded(sliver):
    """A segment that leaves next to nothing of the recording around it, and one of next to nothing."""
    x = np.random.default_rng(0).uniform(0, 1, (1, 8, 1)).astype(np.float32)
    segments = np.array([[[0, 8 - sliver], [3.3, 3.3 + sliver]]], np.float32)

    def areas(z):
        return inner_outer(cumulative_sum(x, np.ones((1, 8), bool)), z, np.full(1, 8, np.float32), inflation=0.25)

    slopes = jax.jit(jax.jacobian(lambda z: jnp.stack(areas(z))))(segments)
    assert np.abs(slopes).max() <= 2


def test_sums_are_float32_and_do_not_read_padding():
    x = np.where(MASK[..., None], 1.0, np.nan).astype(jnp.bfloat16)
    sums = cumulative_sum(x, MASK)
    assert sums.dtype == jnp.float32
    np.testing.assert_array_equal(sums[..., 0], np.minimum(np.arange(T + 1)[None], DURATION[:, None]))


def test_any_number_of_axes_of_positions():
    x = sequences().astype(np.float32)
    ends = np.random.default_rng(2).uniform(-1, 7, (2, 3, 2, 2)).astype(np.float32)
    whole, flat = np.stack(compiled_areas(x, ends)), np.stack(compiled_areas(x, ends.reshape(2, 6, 2)))
    assert whole.shape == (2, 2, 3, 2, K)
    np.testing.assert_array_equal(whole.reshape(flat.shape), flat)
    assert compiled_integral(x, ends[:, 0, 0, 0], ends[:, 0, 0, 1]).shape == (2, K)


@pytest.mark.parametrize("window", [1.5, 2.0, 3.0, 3.7, 7.0, 12.0, 100.0])
def test_smoothing(window):
    x = sequences()
    found = compiled_smooth(x.astype(np.float32), MASK, np.float32(window))
    for b, k in np.ndindex(2, K):
        n = LENGTHS[b]
        np.testing.assert_allclose(found[b, :n, k], weak.smooth(x[b, :n, k], window), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found[b, n:, k], 0)
    if window >= 2 * T:  # every window holds the whole recording
        np.testing.assert_allclose(found[1, :4], np.broadcast_to(x[1, :4].mean(axis=0), (4, K)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [0.0, 0.5, 1.0])
def test_a_window_of_one_snippet_changes_nothing(window):
    x = sequences().astype(np.float32)
    found = compiled_smooth(x, MASK, np.float32(window))
    np.testing.assert_array_equal(found, np.where(MASK[..., None], x, 0))


def test_every_recording_can_have_its_own_window():
    x = sequences().astype(np.float32)
    both = compiled_smooth(x, MASK, np.array([1, 3], np.float32))
    np.testing.assert_array_equal(both[0], compiled_smooth(x, MASK, np.float32(1))[0])
    np.testing.assert_array_equal(both[1], compiled_smooth(x, MASK, np.float32(3))[1])


@pytest.mark.parametrize("window", [0.0, 1.0, 4.5])
def test_a_long_constant_sequence_stays_constant(window):
    """Otherwise min-max scaling afterwards makes full activation out of rounding."""
    x = np.full((1, 3000, 1), 0.3, np.float32)
    found = compiled_smooth(x, np.ones((1, 3000), bool), np.float32(window))
    np.testing.assert_array_equal(found, x)


def test_smoothing_does_not_read_padding():
    x = sequences().astype(np.float32)
    expected = compiled_smooth(x, MASK, np.float32(2.5))
    found = compiled_smooth(np.where(MASK[..., None], x, np.nan), MASK, np.float32(2.5))
    np.testing.assert_array_equal(found, expected)


def test_gradients_of_smoothing():
    x = sequences()
    cotangent = np.random.default_rng(3).normal(size=x.shape)

    def reference(x):
        return sum(
            np.sum(weak.smooth(x[b, : LENGTHS[b], k], 2.6) * cotangent[b, : LENGTHS[b], k]) for b, k in np.ndindex(2, K)
        )

    loss = functools.partial(lambda c, x: jnp.sum(smooth(x, MASK, 2.6) * c), cotangent.astype(np.float32))
    found = jax.jit(jax.grad(loss))(x.astype(np.float32))
    np.testing.assert_allclose(found, gradient(reference, x), rtol=1e-3, atol=1e-4)
