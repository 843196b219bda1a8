"""Gradients of convolutions in the forms of CPUs against JAX's own: random windows, strides, paddings and types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tal_jax.encoders import convolve_gradients
from tal_jax.encoders.convolve import convolve

KINDS = st.sampled_from(["dense", "within", "two groups", "three groups"])


def plain(x, kernel, strides, padding, groups):
    axes = "FYX"[-len(strides) :]
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=groups,
    )  # fmt: skip


def check(shape, kernel_shape, strides, padding, groups, seed=0, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    x, kernel = (jnp.asarray(rng.normal(size=s), dtype) for s in (shape, kernel_shape))
    wide = x.astype(jnp.float32), kernel.astype(jnp.float32)
    expected, plain_back = jax.vjp(lambda x, k: plain(x, k, strides, padding, groups), *wide)
    cotangent = jnp.asarray(rng.normal(size=expected.shape), dtype)

    @jax.jit
    def both(x, kernel, cotangent):
        y, back = jax.vjp(lambda x, k: convolve(x, k, strides, padding, groups), x, kernel)
        return y, *back(cotangent)

    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
    found = both(x, kernel, cotangent)
    for mine, theirs in zip(found, (expected, *plain_back(cotangent.astype(jnp.float32))), strict=True):
        assert mine.dtype == dtype
        assert mine.shape == theirs.shape
        if theirs.size:
            scale = max(float(jnp.abs(theirs).max()), 1e-3)
            np.testing.assert_allclose(mine.astype(jnp.float32), theirs, rtol=0, atol=tolerance * scale)


@st.composite
def convolutions(draw):
    axes = draw(st.sampled_from([2, 2, 3]))
    window = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    strides = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(axes))
    sizes = tuple(max(k - sum(p), 1) + draw(st.integers(0, 6)) for k, p in zip(window, padding, strict=True))
    kind = draw(KINDS)
    groups = {"dense": 1, "two groups": 2, "three groups": 3}.get(kind, 4)
    channels = 4 if kind == "within" else groups * draw(st.integers(1, 3))
    out = 4 if kind == "within" else groups * draw(st.integers(1, 3))
    shape = (draw(st.integers(1, 4)), *sizes, channels)
    return shape, (*window, channels // groups, out), strides, padding, groups


@settings(max_examples=40)
@given(convolutions(), st.integers(0, 2**16))
def test_gradients_are_those_of_the_convolution(case, seed):
    check(*case, seed=seed)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "padding", "groups"),
    [
        ((2, 9, 11, 24), (3, 3, 24, 20), (1, 1), ((1, 1), (1, 1)), 1),
        ((2, 9, 8, 24), (3, 3, 24, 20), (2, 2), ((1, 1), (0, 1)), 1),
        ((2, 7, 7, 24), (3, 3, 24, 20), (1, 1), ((1, 1), (1, 1)), 1),  # few places
        ((2, 15, 14, 3), (7, 7, 3, 8), (2, 2), ((3, 3), (3, 3)), 1),
        ((2, 6, 5, 300), (1, 1, 300, 8), (1, 1), ((0, 0), (0, 0)), 1),
        ((2, 6, 5, 30), (1, 1, 30, 8), (2, 2), ((0, 0), (0, 0)), 1),
        ((2, 9, 8, 12), (5, 5, 1, 12), (2, 2), ((1, 2), (2, 1)), 12),
        ((2, 9, 8, 40), (3, 3, 20, 40), (2, 1), ((1, 1), (1, 1)), 2),
        ((1, 5, 6, 7, 20), (3, 1, 1, 20, 9), (1, 1, 1), ((1, 1), (0, 0), (0, 0)), 1),
        ((1, 5, 6, 7, 20), (3, 1, 1, 20, 9), (2, 1, 2), ((1, 1), (0, 0), (0, 0)), 1),
        ((1, 5, 8, 9, 18), (3, 3, 3, 18, 9), (1, 2, 2), ((1, 1), (1, 1), (1, 1)), 1),
    ],
)
def test_both_types_of_every_form(shape, kernel, strides, padding, groups, dtype):
    check(shape, kernel, strides, padding, groups, dtype=dtype)


@pytest.mark.parametrize("groups", [1, 6, 24])
def test_pieces_of_images_add_up(groups, monkeypatch):
    monkeypatch.setattr(convolve_gradients, "PIECE", 2 * 9 * 8 * 24)
    check((6, 9, 8, 24), (3, 3, 24 // groups, 24), (1, 1), ((1, 1), (1, 1)), groups)
    check((5, 9, 8, 3), (3, 3, 3, 4), (2, 2), ((1, 1), (1, 1)), 1)


def test_elsewhere_the_gradients_are_xlas_own():
    """What is lowered for a GPU has a convolution for each of the two gradients, and no loop."""
    x, kernel = jnp.zeros((16, 28, 28, 128)), jnp.zeros((3, 3, 128, 128))

    def loss(x, kernel):
        return jnp.square(convolve(x, kernel, (1, 1), ((1, 1), (1, 1)))).sum()

    traced = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel)
    there, here = (traced.lower(lowering_platforms=(p,)).as_text() for p in ("cuda", "cpu"))
    assert there.count("stablehlo.convolution") == 3
    assert "stablehlo.while" not in there
    assert here.count("stablehlo.convolution") == 2
    assert "stablehlo.dot_general" in here
