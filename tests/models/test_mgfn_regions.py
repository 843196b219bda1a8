"""From localisation sequences to the regions that are erased: activation, scaling, classes, thresholds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import weak_references as weak
from support.derivatives import gradient

from tal_jax.models.mgfn import activate, discovered, predicted_labels, scaled

K = 3
LENGTHS = (12, 9, 3, 1)
MASK = np.arange(12)[None] < np.array(LENGTHS)[:, None]
compiled_scaled = jax.jit(scaled)


def test_scaling_and_its_gradient():
    rng = np.random.default_rng(7)
    x, c = rng.normal(size=(4, 12, K)), rng.normal(size=(4, 12, K))
    x[1, :, 0] = 0.3  # constant

    def reference(x):
        found = np.zeros(x.shape)
        for b, k in np.ndindex(4, K):
            found[b, : LENGTHS[b], k] = weak.scaled(x[b, : LENGTHS[b], k])
        return found

    np.testing.assert_allclose(compiled_scaled(x.astype(np.float32), MASK), reference(x), atol=1e-5)
    found = jax.jit(jax.grad(lambda x: jnp.sum(scaled(x, MASK) * c.astype(np.float32))))(x.astype(np.float32))
    x[1, :, 0] += np.arange(12)  # finite differences of the constant one jump
    expected = gradient(lambda z: np.sum(reference(z) * c), x)
    np.testing.assert_array_equal(np.asarray(found)[1, :, 0], 0)
    expected[1, :, 0] = 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 0.99, 1.0])
def test_erased_regions(threshold):
    rng = np.random.default_rng(8)
    cas = rng.normal(size=(40, 12, K)) * np.array([1, 5, 0.1])
    mask = np.arange(12)[None] < rng.integers(0, 13, 40)[:, None]
    labels = rng.integers(0, 2, (40, K)).astype(np.float32)
    found = jax.jit(discovered)(cas.astype(np.float32), mask, labels, np.float32(threshold))
    for b, n in enumerate(mask.sum(axis=1)):
        expected = weak.erasure(cas[b, :n], labels[b], threshold) if n else []
        np.testing.assert_array_equal(found[b, :n], expected)
        assert not np.any(found[b, n:])
    assert np.any(found) == (threshold < 1)  # the maximum itself is at 1


def test_predicted_labels():
    logits = np.array([[[1, -3, 2], [-1, -2, -3], [0, 0, 0]], [[1, 1, -1], [-4, -1, -3], [0, 0, 0]]], np.float32)
    # Positive in the mean over the branches, or the highest; an empty recording's equal logits leave one.
    np.testing.assert_array_equal(jax.jit(predicted_labels)(logits), [[1, 0, 1], [0, 1, 0], [1, 0, 0]])


def test_activations():
    x = np.linspace(-9, 9, 7, dtype=np.float32)
    np.testing.assert_array_equal(activate(x, "linear"), x)
    np.testing.assert_allclose(activate(x, "sigmoid"), weak.sigmoid(x), rtol=1e-5)
