"""The boundary-matching layer against its direct definition: every cell, bin and point in a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from derivatives import gradient

from tal_jax.ops.boundary_matching import bin_weights, boundary_matching, cell_segments, valid_cells


@pytest.mark.parametrize(
    ("t", "durations", "bins", "points", "block"),
    [(5, 5, 4, 3, 2), (6, 3, 3, 1, 8), (3, 7, 2, 2, 3)],
    ids=["square", "short durations", "durations beyond the sequence"],
)
def test_values_and_gradients(t, durations, bins, points, block):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, t, 2)), rng.normal(size=(bins, 2, 2))
    cotangent = rng.normal(size=(2, t, durations, 2))

    def reference(x, kernel):
        return np.stack([references.boundary_matching(row, kernel, durations=durations, points=points) for row in x])

    @jax.jit
    def forward_and_back(x, kernel, cotangent):
        def f(x, kernel):
            return boundary_matching(x, kernel, durations=durations, bins=bins, points=points, block=block)

        y, pull = jax.vjp(f, x, kernel)
        return y, *pull(cotangent)

    y, dx, dkernel = forward_and_back(*(z.astype(np.float32) for z in (x, kernel, cotangent)))
    np.testing.assert_allclose(y, reference(x, kernel), rtol=1e-4, atol=1e-5)
    expected = gradient(lambda z: np.sum(reference(z, kernel) * cotangent), x)
    np.testing.assert_allclose(dx, expected, rtol=1e-3, atol=1e-4)
    expected = gradient(lambda z: np.sum(reference(x, z) * cotangent), kernel)
    np.testing.assert_allclose(dkernel, expected, rtol=1e-3, atol=1e-4)


def test_published_sizes_sample_as_defined():
    """32 bins of 3 points: the samples themselves, read off with kernels that pass one bin each."""
    t, durations, bins = 9, 9, 32
    x = np.random.default_rng(1).normal(size=(1, t, 1))
    kernel = np.eye(bins, dtype=np.float32)[:, None, :]
    y = boundary_matching(x.astype(np.float32), kernel, durations=durations)
    for a, d in np.ndindex(t, durations):
        expected = references.matching_weights(a, d, t, bins, 3).T @ x[0, :, 0]
        np.testing.assert_allclose(y[0, a, d], expected, rtol=1e-4, atol=1e-5)


def test_block_size_is_irrelevant():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 7, 3)).astype(np.float32)
    kernel = rng.normal(size=(4, 3, 2)).astype(np.float32)

    def run(block):
        return jax.jit(lambda: boundary_matching(x, kernel, durations=7, bins=4, block=block))()

    for block in (1, 3, 100):
        np.testing.assert_allclose(run(block), run(7), rtol=1e-5, atol=1e-5)


def test_weights_of_a_bin_sum_to_one_and_are_not_negative():
    _, weights = bin_weights(0, 20, 8, 3)
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)
    assert (weights >= 0).all()


def test_bfloat16_stays_close():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 6, 3)).astype(np.float32)
    kernel = rng.normal(size=(4, 3, 2)).astype(np.float32)
    y = boundary_matching(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), durations=6, bins=4)
    assert y.dtype == jnp.bfloat16
    expected = boundary_matching(x, kernel, durations=6, bins=4)
    np.testing.assert_allclose(y.astype(np.float32), expected, atol=0.15)


def test_cells_and_which_of_them_are_real():
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
    found = np.asarray(valid_cells(mask, 6))
    segments = cell_segments(5, 6)
    assert found.shape == (3, 5, 6)
    assert segments.shape == (5, 6, 2)
    for b, t, d in np.ndindex(3, 5, 6):
        start, end = segments[t, d]
        assert (start, end) == (t, t + d + 1)
        assert found[b, t, d] == (t < mask[b].sum() and end <= mask[b].sum())
