"""BMN as a task: decoding against a loop over cells, learning, padding, order and devices."""

import functools

import jax
import numpy as np
import pytest
from support import references
from support.batches import make_batch, pad_further, reorder, without_truth
from support.learning import losses_while_learning
from support.parameters import random_params
from support.sharded import on_four_devices

from tal_jax.models.bmn import BMN, BMNOutput
from tal_jax.ops.boundary_matching import valid_cells
from tal_jax.tasks.bmn import BMNTask, candidate_boundaries
from tal_jax.types import Detections

T, D = 12, 8
BATCH = make_batch()
MODEL = BMN(durations=D, groups=2, bins=4, points=2, hidden=8, proposal_hidden=4, map_hidden=8, map_conv_hidden=4)
TASK = BMNTask(model=MODEL, candidates=30, proposals=20)
PARAMS = random_params(MODEL.init, BATCH.features, BATCH.mask)

loss_and_gradients = jax.jit(jax.value_and_grad(TASK.loss, has_aux=True))
predict = jax.jit(TASK.predict)
KEY = jax.random.key(0)


def test_candidate_boundaries():
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, (6, 9)).astype(np.float32)
    p[0] = 0.25  # flat: no peaks, all above half the maximum
    mask = np.arange(9)[None] < np.array([9, 9, 7, 4, 1, 0])[:, None]
    found = np.asarray(jax.jit(candidate_boundaries)(p, mask))
    for b, t in np.ndindex(6, 9):
        real = p[b][mask[b]]
        expected = False
        if mask[b, t]:
            left = real[t - 1] if t > 0 else 0
            right = real[t + 1] if t + 1 < len(real) else 0
            expected = (real[t] > left and real[t] > right) or real[t] > 0.5 * real.max()
        assert found[b, t] == expected
    assert found.any(axis=1)[:-1].all()


def make_output(seed=0):
    rng = np.random.default_rng(seed)
    maps = [rng.normal(0, 2, shape).astype(np.float32) for shape in ((4, T), (4, T), (4, T, D), (4, T, D))]
    return BMNOutput(*maps, valid=np.asarray(valid_cells(BATCH.mask, D)))


def decoded_by_loop(output, task):
    """Rows (segment, score) of every recording, best first."""
    p = {name: references.sigmoid(getattr(output, name)) for name in ("start", "end", "regression", "classification")}
    low, high = task.nms_threshold
    recordings = []
    for b in range(4):
        n = int(BATCH.mask[b].sum())
        duration = float(BATCH.duration[b])

        def candidate(x, t, n=n):
            peak = (t == 0 or x[t] > x[t - 1]) and (t == n - 1 or x[t] > x[t + 1])
            return peak or x[t] > 0.5 * x[:n].max()

        rows = []
        for t in range(n):
            for d in range(min(D, n - t)):
                if (t == 0 or candidate(p["start"][b], t)) and (t + d == n - 1 or candidate(p["end"][b], t + d)):
                    score = p["start"][b, t] * p["end"][b, t + d]
                    score *= p["classification"][b, t, d] ** task.classification_power * p["regression"][b, t, d]
                    segment = (float(t), min(float(t + d + 1), duration))
                    rows.append((segment, -1, score, low + (high - low) * (segment[1] - segment[0]) / duration))
        rows = sorted(rows, key=lambda r: -r[2])[: task.candidates]
        recordings.append(references.soft_nms(rows, top_k=task.proposals, sigma=task.nms_sigma))
    return recordings


@pytest.mark.parametrize(
    "task", [TASK, BMNTask(model=MODEL, classification_power=1.2, candidates=200, nms_threshold=(0.1, 0.4))]
)
def test_decode_agrees_with_a_loop_over_the_cells(task):
    output = make_output()
    found = jax.tree.map(np.asarray, jax.jit(task.decode)(output, BATCH))
    for b, rows in enumerate(decoded_by_loop(output, task)):
        n = len(rows)
        assert n > 5
        np.testing.assert_array_equal(found.mask[b], np.arange(found.mask.shape[1]) < n)
        np.testing.assert_allclose(found.scores[b, :n], [r[2] for r in rows], rtol=1e-4)
        np.testing.assert_allclose(found.segments[b, :n], [r[0] for r in rows], rtol=1e-6)
        np.testing.assert_array_equal(found.labels[b], -1)


def test_learns_a_small_batch():
    history = losses_while_learning(loss_and_gradients, PARAMS, BATCH, KEY, steps=60)
    assert history[-1] < 0.5 * history[0]


random_loss = jax.jit(jax.value_and_grad(BMNTask(model=MODEL, random_negatives=True).loss, has_aux=True))


@pytest.mark.parametrize("batch", [BATCH, without_truth(BATCH)], ids=["truth", "no truth"])
def test_gradients_are_finite_with_negatives_drawn_at_random(batch):
    (loss, _), grads = random_loss(PARAMS, batch, KEY)
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@functools.cache
def results():
    return loss_and_gradients(PARAMS, BATCH, KEY), predict(PARAMS, BATCH)


def close(found, expected, atol=1e-5):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=atol), found, expected)


def test_padding_further_changes_nothing():
    expected, detections = results()
    more = pad_further(BATCH, snippets=5, slots=2)
    close(loss_and_gradients(PARAMS, more, KEY), expected, atol=1e-4)
    close(predict(PARAMS, more), detections)


def test_order_changes_nothing():
    expected, detections = results()
    order = [2, 0, 3, 1]
    close(loss_and_gradients(PARAMS, reorder(BATCH, order), KEY), expected, atol=1e-4)
    close(predict(PARAMS, reorder(BATCH, order)), reorder(detections, order))


def test_number_of_devices_changes_nothing():
    expected, detections = results()
    params, batch = on_four_devices(PARAMS, BATCH)
    close(loss_and_gradients(params, batch, KEY), expected)
    close(predict(params, batch), detections)


def test_merging_windows_lowers_duplicates_and_drops_nothing():
    windows = Detections(
        segments=np.array([[[0, 4], [6, 9], [0, 4.2], [0, 0]]], np.float32),
        labels=np.full((1, 4), -1, np.int32),
        scores=np.array([[0.9, 0.5, 0.8, 0]], np.float32),
        mask=np.array([[True, True, True, False]]),
    )
    merged = jax.tree.map(np.asarray, jax.jit(TASK.merge)(windows))
    np.testing.assert_array_equal(merged.mask, [[True, True, True, False]])
    # IoU 4 / 4.2 of the first two; 0.5 + 0.4 * 4 / 9 is the threshold of a segment of 4 in 9.
    duplicate = 0.8 * np.exp(-((4 / 4.2) ** 2) / 0.4)
    np.testing.assert_allclose(merged.scores, [[0.9, 0.5, duplicate, 0]], rtol=1e-5)
    np.testing.assert_allclose(merged.segments[0, 2], [0, 4.2], rtol=1e-6)
