"""Interpolation and the positions at which a proposal is sampled, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import references
from support.derivatives import gradient

from tal_jax.ops.sampling import interpolate, proposal_points

T = 6
# Centres, edges, in between, and outside on both sides.
POSITIONS = np.array([0.5, 5.5, 0.0, 6.0, 0.2, 5.9, 2.75, 3.0, -0.49, -0.5, -3.0, 6.4, 6.5, 40.0, 1.5, 4.25])


def reference(x, positions):
    return np.stack([[references.interpolate(row, p) for p in at] for row, at in zip(x, positions, strict=True)])


@pytest.mark.parametrize("implementation", ["gather", "dense", "auto"])
def test_values_and_gradients(implementation):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, T, 3))
    positions = np.stack([POSITIONS, rng.permutation(POSITIONS)])
    cotangent = rng.normal(size=(*positions.shape, 3))

    @jax.jit
    def forward_and_back(x, positions, cotangent):
        y, pull = jax.vjp(lambda x: interpolate(x, positions, implementation=implementation), x)
        return y, pull(cotangent)[0]

    y, dx = forward_and_back(*(z.astype(np.float32) for z in (x, positions, cotangent)))
    np.testing.assert_allclose(y, reference(x, positions), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        dx, gradient(lambda z: np.sum(reference(z, positions) * cotangent), x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("implementation", ["gather", "dense"])
def test_gradient_along_positions(implementation):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, T, 2))
    positions = np.array([[0.3, 2.75, 5.8, -0.2, 9.0]])  # none on a centre, where the slope jumps
    found = jax.grad(lambda p: jnp.sum(interpolate(x.astype(np.float32), p, implementation=implementation)))(
        positions.astype(np.float32)
    )
    np.testing.assert_allclose(found, gradient(lambda p: reference(x, p).sum(), positions), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("implementation", ["gather", "dense"])
def test_shape_and_type_follow_the_inputs(implementation):
    x = np.ones((2, T, 3), jnp.bfloat16)
    y = interpolate(x, np.full((2, 4, 5), 2.25, np.float32), implementation=implementation)
    assert y.shape == (2, 4, 5, 3)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(y, np.float32), 1)


def test_unknown_implementation():
    with pytest.raises(ValueError, match="cubic"):
        interpolate(np.ones((1, T, 1), np.float32), np.ones((1, 1), np.float32), implementation="cubic")


CONTEXT, INSIDE = 4, 3
points = {
    reach: jax.jit(
        lambda p, limit, c=reach: proposal_points(p, limit, context=CONTEXT, inside=INSIDE, context_inside=c)
    )
    for reach in (0.0, 0.25)
}


@pytest.mark.parametrize("reach", points)
@given(st.lists(st.tuples(st.floats(0, 12, width=32), st.floats(0, 12, width=32)), min_size=6, max_size=6))
def test_points_of_proposals(reach, ends):
    proposals = np.array(ends, np.float32).reshape(2, 3, 2)
    limit = np.array([12, 7.5], np.float32)
    found = np.asarray(points[reach](proposals, limit))
    assert found.shape == (2, 3, 2 * CONTEXT + INSIDE)
    for b, p in np.ndindex(2, 3):
        expected = references.proposal_points(
            proposals[b, p], float(limit[b]), context=CONTEXT, inside=INSIDE, context_inside=reach
        )
        np.testing.assert_allclose(found[b, p], expected, rtol=1e-5, atol=1e-5)


def test_points_of_a_plain_proposal():
    found = points[0.0](np.array([[[4, 8]]], np.float32), np.array([9], np.float32))[0, 0]
    np.testing.assert_allclose(found[:CONTEXT], [2.25, 2.75, 3.25, 3.75])
    np.testing.assert_allclose(found[CONTEXT : CONTEXT + INSIDE], [4 + 4 * (i + 0.5) / 3 for i in range(3)], rtol=1e-6)
    # The end context [8, 10] is cut at 9.
    np.testing.assert_allclose(found[-CONTEXT:], [8.125, 8.375, 8.625, 8.875])
