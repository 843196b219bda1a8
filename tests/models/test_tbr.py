"""The boundary regressor against equations 10-16, from its own parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import references
from support.derivatives import check_along_directions, gradient, to_float64
from support.parameters import random_params

from tal_jax.models.tbr import TemporalBoundaryRegressor, refine

T, H, CONTEXT, INSIDE = 9, 4, 4, 8
LIMIT = np.array([9.0, 6.5], np.float32)
PROPOSALS = np.array(
    [[[2.2, 5.9], [0.0, 9.0], [7.5, 8.75]], [[0.3, 6.4], [3.0, 3.0], [5.1, 6.5]]], np.float32
)  # one touches both ends, one is empty


def build(num_classes=2, **options):
    module = TemporalBoundaryRegressor(
        hidden=4, frame_hidden=4, groups=2, context=CONTEXT, inside=INSIDE, num_classes=num_classes, **options
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, T, H)).astype(np.float32)
    x[1, 7:] = 0
    return module, random_params(module.init, x, PROPOSALS, LIMIT), x


def reference(params, x):
    """ends, center, IoU logits and class logits of all proposals."""
    rows = [
        references.regressor(
            params["params"], x[b], PROPOSALS[b, p], float(LIMIT[b]), groups=2, context=CONTEXT, inside=INSIDE
        )
        for b, p in np.ndindex(2, 3)
    ]
    return tuple(np.stack(column).reshape(2, 3, *np.shape(column[0])) for column in zip(*rows, strict=True))


def test_values_and_gradients():
    module, params, x = build()
    rng = np.random.default_rng(1)
    expected = reference(to_float64(params), x.astype(float))
    cotangents = [rng.normal(size=y.shape) for y in expected]

    @jax.jit
    def forward_and_back(params, x):
        y, pull = jax.vjp(lambda p, x: module.apply(p, x, PROPOSALS, LIMIT), params, x)
        return y, pull(tuple(jnp.asarray(c, jnp.float32) for c in cotangents))

    found, grads = forward_and_back(params, x)
    for y, z in zip(found, expected, strict=True):
        assert y.dtype == jnp.float32
        np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-5)

    def scalar(args):
        return sum(np.sum(y * c) for y, c in zip(reference(*args), cotangents, strict=True))

    check_along_directions(scalar, (params, x), grads, np.random.default_rng(2))


apply = jax.jit(lambda params, x, module: module.apply(params, x, PROPOSALS, LIMIT), static_argnums=2)


@pytest.mark.parametrize("level", ["frame_level", "segment_level"])
def test_a_level_that_is_off_gives_zeros_and_leaves_the_rest(level):
    module, params, x = build(num_classes=0)
    half = apply(params, x, module.clone(**{level: False}))
    whole = apply(params, x, module)
    off = 0 if level == "frame_level" else 1
    np.testing.assert_array_equal(half[off], 0)
    for i in {1 - off, 2}:
        np.testing.assert_allclose(half[i], whole[i], atol=1e-6)
    assert whole[3].shape == (2, 3, 0)


offsets = st.floats(-1.5, 1.5, width=32)
compiled_refine = jax.jit(refine, static_argnames=("tau", "ends_scale", "center_scale"))


@pytest.mark.parametrize(
    ("tau", "options"),
    [(0.5, {}), (1.0, {}), (0.0, {}), (0.3, {"ends_scale": 0.2, "center_scale": (0.1, 0.2)})],
    ids=["fused", "ends only", "center only", "released"],
)
@given(st.lists(st.tuples(offsets, offsets, offsets, offsets), min_size=6, max_size=6))
def test_refine_is_equations_13_to_16(tau, options, values):
    values = np.array(values, np.float32).reshape(2, 3, 4)
    found = compiled_refine(PROPOSALS, values[..., :2], values[..., 2:], LIMIT, tau=tau, **options)
    for b, p in np.ndindex(2, 3):
        ends, center = np.split(values[b, p].astype(float), 2)
        expected = references.refine(PROPOSALS[b, p].astype(float), ends, center, float(LIMIT[b]), tau=tau, **options)
        np.testing.assert_allclose(found[b, p], expected, rtol=1e-4, atol=1e-4)


def test_gradient_of_refine():
    proposals = PROPOSALS[:, :1]
    values = np.random.default_rng(3).uniform(-0.05, 0.05, (2, 1, 4))  # stays clear of the clamps

    def scalar(values):
        return sum(
            references.refine(proposals[b, 0].astype(float), v[0, :2], v[0, 2:], 100.0, tau=0.4) @ [1.0, -2.0]
            for b, v in enumerate(values)
        )

    limit = np.full(2, 100, np.float32)
    weights = jnp.array([1.0, -2.0]).reshape(1, 1, 2)
    found = jax.jit(
        jax.grad(lambda v: jnp.sum(refine(proposals, v[..., :2], v[..., 2:], limit, tau=0.4) * weights))
    )(values.astype(np.float32))  # fmt: skip
    np.testing.assert_allclose(found, gradient(scalar, values), rtol=1e-3, atol=1e-4)
