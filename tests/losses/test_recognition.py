"""The loss of recognition against NumPy's, smoothing, several classes, clips without one."""

import jax
import numpy as np
import pytest

from tal_jax.losses.recognition import recognition_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_cross_entropy(smoothing):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 5)).astype(np.float32)
    labels = np.zeros((4, 5), np.float32)
    labels[0, 2] = labels[1, 0] = labels[1, 4] = labels[3, 1] = 1  # two classes, and none
    expected = []
    for row in (0, 1, 3):
        p = np.exp(logits[row]) / np.exp(logits[row]).sum()
        target = labels[row] / labels[row].sum() * (1 - smoothing) + smoothing / 5
        expected.append(-(target * np.log(p)).sum())
    np.testing.assert_allclose(recognition_loss(logits, labels, smoothing), np.mean(expected), rtol=1e-6)


def test_nothing_to_learn_gives_nothing():
    logits, labels = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    value, gradient = jax.value_and_grad(recognition_loss)(logits, labels)
    assert value == 0
    assert not np.asarray(gradient).any()
