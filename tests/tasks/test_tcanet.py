"""TCANet as a task: decoding against a loop, learning, padding, order and devices."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import references
from support.batches import make_batch, pad_further, reorder, without_truth
from support.learning import losses_while_learning
from support.parameters import random_params
from support.sharded import on_four_devices

from tal_jax.convert.families import FAMILIES
from tal_jax.models.tbr import RegressorOutput
from tal_jax.models.tcanet import TCANet, TCANetOutput
from tal_jax.tasks.tcanet import TCANetTask, jitter
from tal_jax.types import Detections

K, P, STAGES = 3, 5, 2
BATCH = make_batch(proposals=P, classes=K)
MODEL = TCANet(
    num_classes=K, groups=2, encoders=1, stages=STAGES, context=4, inside=8, heads=4, local_heads=2, window=3,
    hidden=8, ffn=6, dropout=0.0, regressor_hidden=8, frame_hidden=4,
)  # fmt: skip
TASK = TCANetTask(model=MODEL, thresholds=(0.5, 0.6), candidates=12, detections=8)
PARAMS = random_params(
    functools.partial(MODEL.init, train=False), BATCH.features, BATCH.mask, BATCH.duration, BATCH.proposals
)
KEY = jax.random.key(0)

loss_and_gradients = jax.jit(jax.value_and_grad(TASK.loss, has_aux=True))
predict = jax.jit(TASK.predict)


def make_output():
    """Two stages with refined segments, some of them better placed than others."""
    rng = np.random.default_rng(0)
    stages = []
    for _ in range(STAGES):
        centre, half = rng.uniform(2, 8, (4, P)), rng.uniform(0.5, 3, (4, P))
        segments = np.stack([np.maximum(centre - half, 0), centre + half], axis=-1).astype(np.float32)
        zeros = np.zeros((4, P, 2), np.float32)
        logit, classes = rng.normal(size=(4, P)), rng.normal(0, 2, (4, P, K))
        stages.append(
            RegressorOutput(
                proposals=BATCH.proposals,
                ends=zeros,
                center=zeros,
                iou_logit=logit.astype(np.float32),
                class_logits=classes.astype(np.float32),
                segments=segments,
            )
        )
    return TCANetOutput(stages=tuple(stages), snippet_logits=np.zeros((4, 12, 0), np.float32))


def decoded_by_loop(
    outputs, batch, *, classes, fuse, video_classes, proposal_power, confidence_stages, candidates, kept
):
    recordings = []
    for b in range(4):
        ranked = sorted(range(K), key=lambda k: -batch.class_scores[b, k])
        rows = []
        for stage in range(STAGES) if fuse == "all" else [STAGES - 1]:
            for p, k in np.ndindex(P, K):
                if not batch.proposal_mask[b, p]:
                    continue
                score = float(batch.proposal_scores[b, p]) ** proposal_power
                for i in confidence_stages:
                    score *= references.sigmoid(outputs[i].iou_logit[b, p])
                if classes in ("head", "both"):
                    score *= np.mean([references.sigmoid(o.class_logits[b, p, k]) for o in outputs])
                if classes in ("video", "both"):
                    if k not in ranked[:video_classes] or batch.class_scores[b, k] == 0:
                        continue
                    score *= float(batch.class_scores[b, k])
                where = batch.proposals[b, p] if fuse == "none" else outputs[stage].segments[b, p]
                rows.append((tuple(where.astype(float)), k, score, 0.0))
        rows = sorted(rows, key=lambda r: -r[2])[:candidates]
        recordings.append(references.soft_nms(rows, top_k=kept, power=2.5))
    return recordings


CASES = [
    {"classes": "head", "fuse": "last", "proposal_power": 0.5},
    {"classes": "video", "fuse": "last", "video_classes": 2, "confidence_stages": (0, 1), "candidates": 6},
    {"classes": "both", "fuse": "all", "video_classes": 1, "confidence_stages": ()},
    {"classes": "head", "fuse": "all", "confidence_stages": (0,), "detections": 5},
    {"classes": "head", "fuse": "none", "proposal_power": 0.5},
]


@pytest.mark.parametrize("options", CASES)
def test_decode_agrees_with_a_loop(options):
    settings = {"video_classes": 3, "proposal_power": 1.0, "confidence_stages": (1,)}
    settings |= {"candidates": 40, "detections": 40, **options}
    task = TCANetTask(model=MODEL, thresholds=(0.5, 0.6), **settings)
    output, batch = make_output(), BATCH
    batch = batch.replace(
        class_scores=np.where(np.arange(K)[None] == np.array([[0], [1], [7], [7]]), 0, batch.class_scores)
    )
    found = jax.tree.map(np.asarray, jax.jit(task.decode)(output, batch))
    kept = settings.pop("detections")
    for b, rows in enumerate(decoded_by_loop(output.stages, batch, kept=kept, **settings)):
        n = len(rows)
        assert n > 0
        np.testing.assert_array_equal(found.mask[b], np.arange(found.mask.shape[1]) < n)
        np.testing.assert_allclose(found.scores[b, :n], [r[2] for r in rows], rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(found.labels[b, :n], [r[1] for r in rows])
        np.testing.assert_allclose(found.segments[b, :n], [r[0] for r in rows], rtol=1e-6)


def test_released_detections_are_proposals_after_soft_nms_times_classes():
    """As published: 100 proposals through soft-NMS without classes, each with the best three, the best 200 kept."""
    rng = np.random.default_rng(5)
    n, k = 100, 7
    batch = make_batch(lengths=(90,), snippets=90, proposals=n, classes=k).replace(proposal_mask=np.ones((1, n), bool))
    start = rng.uniform(0, 80, (1, n, 1))
    segments = np.concatenate([start, start + rng.uniform(1, 30, start.shape)], axis=-1).astype(np.float32)
    logits = rng.normal(size=(3, 1, n)).astype(np.float32)
    zeros = np.zeros((1, n, 2), np.float32)
    stages = [
        RegressorOutput(batch.proposals, zeros, zeros, logit, np.zeros((1, n, 0), np.float32), segments)
        for logit in logits
    ]
    options = {**FAMILIES["tcanet_released"].options, "thresholds": (0.5, 0.6, 0.7)}
    task = TCANetTask(MODEL.clone(stages=3, num_classes=0), **options)
    found = jax.jit(task.decode)(TCANetOutput(tuple(stages), np.zeros((1, 90, 0), np.float32)), batch)

    scores = batch.proposal_scores[0] * references.sigmoid(logits[1, 0])
    rows = [(tuple(segments[0, p].astype(float)), -1, scores[p], 0.0) for p in range(n)]
    kept = references.soft_nms(rows, top_k=100, power=2.5)
    best = sorted(range(k), key=lambda c: -batch.class_scores[0, c])[:3]
    expected = [(segment, c, score * batch.class_scores[0, c]) for segment, _, score in kept for c in best]
    expected = sorted(expected, key=lambda row: -row[2])[:200]
    np.testing.assert_allclose(found.scores[0], [row[2] for row in expected], rtol=1e-4)
    np.testing.assert_array_equal(found.labels[0], [row[1] for row in expected])
    np.testing.assert_allclose(found.segments[0], [row[0] for row in expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"thresholds": (0.5,)}, "1 entries for 2 stages"),
        ({"classes": "none"}, "none"),
        ({"fuse": "first"}, "first"),
        ({"confidence_stages": (0, 2)}, "beyond 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        TCANetTask(**{"model": MODEL, "thresholds": (0.5, 0.6), **options})


moved = jax.jit(jitter)


@given(
    hnp.arrays(np.float32, (2, 3, 2), elements=st.integers(0, 64).map(lambda x: x / 8)),
    st.sampled_from([0.0625, 0.25, 1.0]),
    st.integers(0, 1000),
)
def test_jitter_stays_in_range(ends, amount, seed):
    proposals, limit = np.sort(ends, axis=-1), np.array([8, 5], np.float32)
    proposals = np.minimum(proposals, limit[:, None, None])
    found = np.asarray(moved(proposals, limit, np.float32(amount), jax.random.key(seed)))
    assert (found >= 0).all()
    assert (found <= limit[:, None, None]).all()
    width = proposals[..., 1:] - proposals[..., :1]
    assert (np.abs(found - proposals) <= amount * width + 1e-5).all()


def test_jitter_follows_its_key():
    proposals, limit = np.full((1, 4, 2), [2, 6], np.float32), np.array([9], np.float32)
    one, again, other = (np.asarray(moved(proposals, limit, np.float32(0.1), jax.random.key(i))) for i in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


def test_learns_a_small_batch():
    history = losses_while_learning(loss_and_gradients, PARAMS, BATCH, KEY, steps=60)
    assert history[-1] < 0.5 * history[0]


@functools.cache
def noisy_loss():
    """With everything random switched on."""
    model = MODEL.clone(dropout=0.2, variant="released")
    task = TCANetTask(model=model, thresholds=(0.5, 0.6), jitter=0.1, random_negatives=True)
    return jax.jit(jax.value_and_grad(task.loss, has_aux=True))


@pytest.mark.parametrize("batch", [BATCH, without_truth(BATCH)], ids=["truth", "no truth"])
def test_gradients_are_finite_with_everything_random(batch):
    (loss, _), grads = noisy_loss()(PARAMS, batch, KEY)
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    (again, _), _ = noisy_loss()(PARAMS, batch, KEY)
    (other, _), _ = noisy_loss()(PARAMS, batch, jax.random.key(1))
    assert again == loss != other


@functools.cache
def results():
    return loss_and_gradients(PARAMS, BATCH, KEY), predict(PARAMS, BATCH)


def close(found, expected, atol=1e-5):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=atol), found, expected)


def test_loss_is_the_weighted_sum_over_stages():
    """The metrics are means over the stages."""
    (loss, metrics), _ = results()[0]
    np.testing.assert_allclose(loss, STAGES * sum(float(v) for v in metrics.values()), rtol=1e-5)
    weights = {"ends_weight": 2.0, "center_weight": 0.5, "confidence_weight": 3.0, "class_weight": 0.0}
    model = MODEL.clone(encoders=0, snippet_head=True)
    params = random_params(
        functools.partial(model.init, train=False), BATCH.features, BATCH.mask, BATCH.duration, BATCH.proposals
    )
    task = TCANetTask(model=model, thresholds=(0.5, 0.6), snippet_weight=4.0, **weights)
    weighted, metrics = jax.jit(task.loss)(params, BATCH, KEY)
    expected = 2 * metrics["ends"] + 0.5 * metrics["center"] + 3 * metrics["confidence"]
    np.testing.assert_allclose(weighted, STAGES * expected + 4 * metrics["snippets"], rtol=1e-5)


def test_padding_further_changes_nothing():
    expected, detections = results()
    more = pad_further(BATCH, snippets=5, slots=2, proposals=3)
    close(loss_and_gradients(PARAMS, more, KEY), expected, atol=1e-4)
    close(predict(PARAMS, more), detections, atol=1e-4)


def test_order_changes_nothing():
    expected, detections = results()
    order = [2, 0, 3, 1]
    close(loss_and_gradients(PARAMS, reorder(BATCH, order), KEY), expected, atol=1e-4)
    close(predict(PARAMS, reorder(BATCH, order)), reorder(detections, order), atol=1e-4)


def test_number_of_devices_changes_nothing():
    expected, detections = results()
    params, batch = on_four_devices(PARAMS, BATCH)
    close(loss_and_gradients(params, batch, KEY), expected)
    close(predict(params, batch), detections)


def test_merging_windows_keeps_classes_apart_and_drops_nothing():
    windows = Detections(
        segments=np.array([[[0, 4], [0, 4], [1, 4], [0, 0]]], np.float32),
        labels=np.array([[0, 1, 0, 0]], np.int32),
        scores=np.array([[0.9, 0.5, 0.8, 0]], np.float32),
        mask=np.array([[True, True, True, False]]),
    )
    merged = jax.tree.map(np.asarray, jax.jit(TASK.merge)(windows))
    np.testing.assert_array_equal(merged.mask, [[True, True, True, False]])
    np.testing.assert_allclose(merged.scores, [[0.9, 0.5, 0.8 * np.exp(-(0.75**2.5) / 0.4), 0]], rtol=1e-5)
    np.testing.assert_array_equal(merged.labels, [[0, 1, 0, -1]])
