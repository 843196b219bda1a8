"""Losses of single elements against their formulas, far out as well."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import references
from support.derivatives import gradient

from tal_jax.losses.elementwise import balanced_logistic, sigmoid_cross_entropy, sigmoid_focal, smooth_l1

N = 6
logits_of = hnp.arrays(np.float32, N, elements=st.floats(-8, 8, width=32, allow_subnormal=False))
targets_of = hnp.arrays(np.float32, N, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))


def compiled(f):
    """Values [N] and d sum / d first argument."""
    return jax.jit(lambda x, *args: (f(x, *args), jax.grad(lambda x: jnp.sum(f(x, *args)))(x)))


def loop(f, *args):
    return np.array([f(*(float(a) for a in row)) for row in zip(*args, strict=True)])


smooth = {beta: compiled(lambda x, beta=beta: smooth_l1(x, beta)) for beta in (1.0, 0.25)}


@pytest.mark.parametrize("beta", [1.0, 0.25])
@given(hnp.arrays(np.float32, N, elements=st.integers(-40, 40).map(lambda x: x / 16 + 0.01)))
def test_smooth_l1(beta, error):
    value, slope = smooth[beta](error)
    np.testing.assert_allclose(value, loop(lambda e: references.smooth_l1(e, beta), error), rtol=1e-5, atol=1e-6)
    expected = gradient(lambda z: loop(lambda e: references.smooth_l1(e, beta), z).sum(), error)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


def focal(logit, target):
    return references.cross_entropy(logit, target) * abs(target - references.sigmoid(logit)) ** 2


PAIRS = {
    "cross entropy": (compiled(sigmoid_cross_entropy), references.cross_entropy),
    "focal": (compiled(sigmoid_focal), focal),
}


@pytest.mark.parametrize("name", PAIRS)
@given(logits_of, targets_of)
def test_logistic_losses(name, logits, targets):
    found, expected = PAIRS[name]
    value, slope = found(logits, targets)
    np.testing.assert_allclose(value, loop(expected, logits, targets), rtol=1e-4, atol=1e-6)
    # Targets equal to the probability have a kink in |y - p|, harmless under the square.
    numeric = gradient(lambda z: loop(expected, z, targets).sum(), logits)
    np.testing.assert_allclose(slope, numeric, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", PAIRS)
def test_logistic_losses_are_finite_far_out(name):
    logits = np.array([-1e4, 1e4, -1e4, 1e4, 100, -100], np.float32)
    targets = np.array([1, 0, 0, 1, 0.5, 0.5], np.float32)
    value, slope = PAIRS[name][0](logits, targets)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(value[:4], [1e4, 1e4, 0, 0], rtol=1e-5)


def balanced_reference(logits, positive, mask):
    """0.5 n / n_pos for positives and 0.5 n / (n - n_pos) for negatives, over n."""
    total, n = 0.0, int(mask.sum())
    n_pos = int((positive & mask).sum())
    for z, p, real in zip(logits, positive, mask, strict=True):
        if real:
            weight = 0.5 * n / n_pos if p else 0.5 * n / (n - n_pos)
            total += weight * references.cross_entropy(float(z), float(p)) / n
    return total


balanced = jax.jit(jax.value_and_grad(balanced_logistic))


@given(logits_of, hnp.arrays(bool, N), hnp.arrays(bool, N))
def test_balanced_logistic(logits, positive, mask):
    value, slope = balanced(logits, positive, mask)
    np.testing.assert_allclose(value, balanced_reference(logits, positive, mask), rtol=1e-4, atol=1e-6)
    numeric = gradient(lambda z: balanced_reference(z, positive, mask), logits)
    np.testing.assert_allclose(slope, numeric, rtol=1e-3, atol=1e-4)
