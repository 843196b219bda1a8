"""The boundary-matching layer against its direct definition: every cell, bin and point in a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import references
from support.derivatives import gradient

from tal_jax.ops.boundary_matching import (
    SAMPLINGS,
    bin_weights,
    boundary_matching,
    by_duration,
    by_end,
    cell_segments,
    valid_cells,
)


def affine(params, cells):
    """A head whose value at zero is not zero."""
    weight, bias = params
    return jnp.tanh(cells + bias.reshape((1,) * (cells.ndim - 1) + (-1,))) @ weight


@pytest.mark.parametrize("implementation", ["sampled", "projected"])
@pytest.mark.parametrize(
    ("t", "durations", "bins", "points", "block", "sampling"),
    [
        (5, 5, 4, 3, 2, ""),
        (6, 3, 3, 1, 8, ""),
        (3, 7, 2, 2, 3, ""),
        (6, 6, 4, 3, 4, "truncated"),
        (5, 5, 5, 2, 2, "truncated_longer"),
    ],
    ids=["square", "short durations", "durations beyond the sequence", "truncated", "truncated and longer"],
)
def test_values_and_gradients(t, durations, bins, points, block, sampling, implementation):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, t, 2)), rng.normal(size=(bins, 2, 2))
    cotangent = rng.normal(size=(2, t, durations, 2))

    def reference(x, kernel):
        sizes = {"durations": durations, "points": points, "sampling": sampling}
        return np.stack([references.boundary_matching(row, kernel, **sizes) for row in x])

    @jax.jit
    def forward_and_back(x, kernel, cotangent):
        def f(x, kernel):
            sizes = {"durations": durations, "bins": bins, "points": points, "block": block, "starts": 2}
            return boundary_matching(x, kernel, **sizes, sampling=sampling, implementation=implementation)

        y, pull = jax.vjp(f, x, kernel)
        return y, *pull(cotangent)

    y, dx, dkernel = forward_and_back(*(z.astype(np.float32) for z in (x, kernel, cotangent)))
    np.testing.assert_allclose(y, reference(x, kernel), rtol=1e-4, atol=1e-5)
    expected = gradient(lambda z: np.sum(reference(z, kernel) * cotangent), x)
    np.testing.assert_allclose(dx, expected, rtol=1e-3, atol=1e-4)
    expected = gradient(lambda z: np.sum(reference(x, z) * cotangent), kernel)
    np.testing.assert_allclose(dkernel, expected, rtol=1e-3, atol=1e-4)


@given(
    st.integers(1, 12), st.integers(1, 14), st.integers(1, 5), st.integers(1, 3), st.integers(1, 5), st.integers(1, 6),
    st.sampled_from(SAMPLINGS), st.integers(0, 2**31),
)  # fmt: skip
@settings(max_examples=8)
def test_both_forms_are_alike_with_a_head(t, durations, bins, points, block, starts, sampling, seed):
    """Values and all gradients, for any sizes of map and tiles."""
    if bins * points < 2:
        return  # a single sample has no spacing
    rng = np.random.default_rng(seed)
    x, kernel = rng.normal(size=(2, t, 3)).astype(np.float32), rng.normal(size=(bins, 3, 4)).astype(np.float32)
    params = (rng.normal(size=(4, 2)).astype(np.float32), rng.normal(size=4).astype(np.float32))
    cotangent = rng.normal(size=(2, t, durations, 2)).astype(np.float32)
    sizes = {"durations": durations, "bins": bins, "points": points, "block": block, "starts": starts}
    sizes |= {"sampling": sampling}

    @jax.jit
    def both(x, kernel, params, cotangent):
        found = []
        for form in ("sampled", "projected"):
            how = sizes | {"head": affine, "implementation": form}
            y, pull = jax.vjp(lambda x, k, p, how=how: boundary_matching(x, k, **how, head_params=p), x, kernel, params)
            found.append(jax.tree.leaves((y, pull(cotangent))))
        return found

    for a, b in zip(*both(x, kernel, params, cotangent), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * max(1, np.abs(a).max()))


@pytest.mark.parametrize("unknown", ["implementation", "sampling"])
def test_unknown_names(unknown):
    with pytest.raises(ValueError, match="dense"):
        boundary_matching(
            np.ones((1, 2, 1), np.float32), np.ones((2, 1, 1), np.float32), durations=2, bins=2, **{unknown: "dense"}
        )


@pytest.mark.parametrize("implementation", ["sampled", "projected"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_published_sizes_sample_as_defined(sampling, implementation):
    """32 bins of 3 points: the samples themselves, read off with kernels that pass one bin each."""
    t, durations, bins = 9, 9, 32
    x = np.random.default_rng(1).normal(size=(1, t, 1))
    kernel = np.eye(bins, dtype=np.float32)[:, None, :]
    how = {"sampling": sampling, "implementation": implementation}
    y = boundary_matching(x.astype(np.float32), kernel, durations=durations, **how)
    for a, d in np.ndindex(t, durations):
        expected = references.matching_weights(a, d, t, bins, 3, sampling).T @ x[0, :, 0] * (a + d < t)
        np.testing.assert_allclose(y[0, a, d], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", ["sampled", "projected"])
def test_block_size_is_irrelevant(implementation):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 7, 3)).astype(np.float32)
    kernel = rng.normal(size=(4, 3, 2)).astype(np.float32)

    def run(block):
        return jax.jit(
            lambda: boundary_matching(x, kernel, durations=7, bins=4, block=block, implementation=implementation)
        )()

    for block in (1, 3, 100):
        np.testing.assert_allclose(run(block), run(7), rtol=1e-5, atol=1e-5)


def test_weights_of_a_bin_sum_to_one_and_are_not_negative():
    _, weights = bin_weights(0, 20, 8, 3)
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)
    assert (weights >= 0).all()


@pytest.mark.parametrize("implementation", ["sampled", "projected"])
def test_bfloat16_stays_close(implementation):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 6, 3)).astype(np.float32)
    kernel = rng.normal(size=(4, 3, 2)).astype(np.float32)
    half = (x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    y = boundary_matching(*half, durations=6, bins=4, implementation=implementation)
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


@pytest.mark.parametrize("t", [1, 2, 5])
def test_maps_by_end_and_back(t):
    x = np.random.default_rng(0).normal(size=(2, t, t, 3)).astype(np.float32)
    found = np.asarray(by_end(x, x[:, -1:, -1:]))
    np.testing.assert_array_equal(found, np.stack([references.by_end(row) for row in x]))
    np.testing.assert_array_equal(by_duration(found), np.stack([references.by_duration(row) for row in found]))
    inside = np.arange(t)[:, None] + np.arange(t) < t
    np.testing.assert_array_equal(by_duration(found), np.where(inside[None, :, :, None], x, 0))
