"""Depthwise convolution and pools along time against loops, and through their gradients."""

import itertools

import jax
import numpy as np
import pytest
from jax import lax

from tal_jax.ops.depthwise import depthwise_conv1d, max_pool1d


@pytest.mark.parametrize(("t", "taps", "stride"), list(itertools.product((1, 4, 7), (1, 3, 5), (1, 2))))
def test_as_xlas_own(t, taps, stride):
    rng = np.random.default_rng(t)
    x, kernel = rng.normal(size=(2, t, 3)).astype(np.float32), rng.normal(size=(taps, 3)).astype(np.float32)
    pad = [(taps // 2, taps // 2)]

    def own(x, kernel):
        return lax.conv_general_dilated(
            x, kernel[:, None], (stride,), pad, dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=3
        )

    expected, back = jax.vjp(own, x, kernel)
    found, other = jax.vjp(lambda x, kernel: depthwise_conv1d(x, kernel, stride), x, kernel)
    assert found.shape == (2, -(-t // stride), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    ones = rng.normal(size=found.shape).astype(np.float32)
    for a, b in zip(other(ones), back(ones), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    largest = max_pool1d(x, taps, stride)
    for i in range(largest.shape[1]):
        seen = x[:, max(i * stride - taps // 2, 0) : i * stride + taps // 2 + 1]
        np.testing.assert_array_equal(largest[:, i], seen.max(1))


def test_an_even_number_of_taps_has_no_centre():
    with pytest.raises(ValueError, match="odd number of taps, not 2"):
        depthwise_conv1d(np.zeros((1, 4, 1), np.float32), np.zeros((2, 1), np.float32))
