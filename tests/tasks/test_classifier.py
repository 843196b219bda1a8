"""The video-level classifier as a task."""

import functools

import jax
import numpy as np
import pytest
from support import references
from support.batches import make_batch, pad_further, reorder
from support.learning import losses_while_learning
from support.parameters import random_params
from support.sharded import on_four_devices

from tal_jax.models.classifier import VideoClassifier
from tal_jax.tasks.classifier import ClassifierTask
from tal_jax.types import Detections

K = 3
BATCH = make_batch(classes=K)
MODEL = VideoClassifier(num_classes=K, hidden=8, topk_ratio=4, dropout=0.0)
TASK = ClassifierTask(model=MODEL)
PARAMS = random_params(functools.partial(MODEL.init, train=False), BATCH.features, BATCH.mask)
KEY = jax.random.key(0)

loss_and_gradients = jax.jit(jax.value_and_grad(TASK.loss, has_aux=True))
predict = jax.jit(TASK.predict)
logits = jax.jit(functools.partial(MODEL.apply, train=False))


def test_loss_and_accuracy():
    z = np.asarray(logits(PARAMS, BATCH.features, BATCH.mask), np.float64)
    (loss, metrics), _ = loss_and_gradients(PARAMS, BATCH, KEY)
    terms = [references.cross_entropy(z[b, k], float(BATCH.labels[b, k])) for b, k in np.ndindex(4, K)]
    np.testing.assert_allclose(loss, np.mean(terms), rtol=1e-4)
    right = [BATCH.labels[b, max(range(K), key=lambda k, b=b: z[b, k])] for b in range(4)]
    np.testing.assert_allclose(metrics["accuracy"], np.mean(right))


def test_predicts_every_class_over_the_whole_recording_best_first():
    p = references.sigmoid(logits(PARAMS, BATCH.features, BATCH.mask))
    found = jax.tree.map(np.asarray, predict(PARAMS, BATCH))
    assert found.mask.all()
    for b in range(4):
        order = sorted(range(K), key=lambda k, b=b: -p[b, k])
        np.testing.assert_array_equal(found.labels[b], order)
        np.testing.assert_allclose(found.scores[b], p[b, order], rtol=1e-4)
        np.testing.assert_array_equal(found.segments[b], [[0, BATCH.duration[b]]] * K)


def test_merging_windows_takes_every_class_from_its_best_window():
    windows = Detections(
        segments=np.array([[[0, 4], [0, 4], [3, 7], [3, 7], [0, 0]]], np.float32),
        labels=np.array([[0, 1, 1, 0, 0]], np.int32),
        scores=np.array([[0.9, 0.2, 0.7, 0.6, 0]], np.float32),
        mask=np.array([[True, True, True, True, False]]),
    )
    merged = jax.tree.map(np.asarray, jax.jit(TASK.merge)(windows))
    np.testing.assert_array_equal(merged.mask, [[True, True, False]])
    np.testing.assert_array_equal(merged.labels[0, :2], [0, 1])
    np.testing.assert_allclose(merged.scores[0, :2], [0.9, 0.7], rtol=1e-6)
    np.testing.assert_array_equal(merged.segments[0, :2], [[0, 7], [0, 7]])


def test_learns_a_small_batch():
    history = losses_while_learning(loss_and_gradients, PARAMS, BATCH, KEY, steps=60, rate=0.03)
    assert history[-1] < 0.3 * history[0]


@pytest.mark.parametrize("change", ["padding", "order", "devices"])
def test_padding_order_and_devices_change_nothing(change):
    order = [2, 0, 3, 1] if change == "order" else range(4)
    params, batch = PARAMS, BATCH
    if change == "padding":
        batch = pad_further(BATCH, snippets=5, slots=2, proposals=2)
    elif change == "order":
        batch = reorder(BATCH, order)
    else:
        params, batch = on_four_devices(PARAMS, BATCH)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, loss_and_gradients(params, batch, KEY), loss_and_gradients(PARAMS, BATCH, KEY))
    jax.tree.map(close, predict(params, batch), reorder(predict(PARAMS, BATCH), order))
