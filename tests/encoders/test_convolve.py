"""The forms of a convolution against XLA's own, with their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.encoders.convolve import convolve


@pytest.mark.parametrize(
    ("shape", "window", "strides", "padding", "groups", "out"),
    [
        ((2, 9, 8, 6), (3, 3), (1, 1), ((1, 1), (1, 1)), 6, 6),
        ((2, 9, 8, 6), (5, 3), (2, 2), ((1, 2), (0, 1)), 6, 6),
        ((1, 5, 6, 7, 4), (3, 3, 3), (1, 2, 2), ((1, 1), (1, 1), (1, 1)), 4, 4),
        ((2, 9, 8, 6), (1, 1), (2, 2), ((0, 0), (0, 0)), 1, 5),
        ((2, 9, 8, 6), (3, 3), (2, 1), ((1, 1), (1, 1)), 2, 4),
        ((2, 9, 8, 6), (1, 1), (1, 1), ((0, 0), (0, 0)), 3, 6),
        ((1, 5, 6, 7, 4), (3, 3, 3), (1, 2, 1), ((1, 1), (1, 0), (1, 1)), 2, 6),
        ((1, 5, 6, 7, 4), (3, 1, 1), (1, 1, 1), ((1, 1), (0, 0), (0, 0)), 1, 3),
        ((1, 5, 6, 7, 4), (3, 1, 1), (1, 2, 3), ((1, 1), (0, 0), (0, 0)), 1, 3),
        ((2, 7, 6, 7, 4), (3, 1, 1), (2, 1, 1), ((1, 1), (0, 0), (0, 0)), 1, 3),
        ((1, 5, 6, 7, 4), (3, 1, 1), (1, 1, 1), ((1, 1), (1, 0), (0, 0)), 1, 3),
        ((1, 5, 6, 7, 4), (1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (1, 1)), 1, 3),
        ((2, 8, 6, 7, 4), (5, 3, 3), (1, 2, 2), ((2, 2), (1, 1), (1, 1)), 1, 3),
        ((2, 8, 6, 7, 4), (3, 3, 2), (2, 1, 2), ((1, 0), (1, 1), (0, 1)), 1, 3),
        ((2, 9, 8, 3), (4, 2), (4, 2), ((0, 0), (0, 0)), 1, 5),  # patches, and a row that is left over
        ((2, 4, 6, 7, 3), (2, 3, 3), (2, 3, 3), ((0, 0), (0, 0), (0, 0)), 1, 5),
    ],
)
def test_every_form_is_the_convolution(shape, window, strides, padding, groups, out):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*window, shape[-1] // groups, out)), jnp.float32)
    axes = "FYX"[-len(window) :]

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            feature_group_count=groups,
        )  # fmt: skip

    found, back = jax.vjp(lambda x, kernel: convolve(x, kernel, strides, padding, groups), x, kernel)
    expected, plain_back = jax.vjp(plain, x, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    cotangent = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)
    for mine, theirs in zip(back(cotangent), plain_back(cotangent), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=2e-5)
