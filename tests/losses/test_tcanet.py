"""TCANet's losses against loops over the proposals."""

import functools
import math

import jax
import numpy as np
import pytest
from support import references
from support.batches import make_batch, pad_further, reorder, without_truth
from support.derivatives import gradient

from tal_jax.losses.tcanet import snippet_class_loss, stage_loss, video_class_loss
from tal_jax.models.tbr import RegressorOutput

B, P, K = 2, 9, 3
OUTPUTS = ("ends", "center", "iou_logit", "class_logits")
# Parts of one segment each, so that IoUs lie close to both sides of every threshold.
PARTS = np.array([0.1, 0.28, 0.31, 0.42, 0.48, 0.52, 0.65, 0.75, 0.95])


def parts_of_segments():
    batch = make_batch(lengths=(12, 9), slots=2, proposals=P)
    segments = np.array([[[1, 6], [7, 11]], [[2, 8], [0, 0]]], np.float32)
    # The second recording's second slot is padding: all of its proposals belong to the first.
    owner = np.stack([segments[0, np.arange(P) % 2], segments[1, np.zeros(P, int)]])
    start, end = np.split(owner, 2, axis=-1)
    proposals = np.concatenate([start, start + PARTS[None, :, None] * (end - start)], axis=-1)
    return batch.replace(segments=segments, proposals=proposals.astype(np.float32))


BATCH = parts_of_segments()


def outputs(proposals=P):
    rng = np.random.default_rng(0)
    shapes = {"ends": (2,), "center": (2,), "iou_logit": (), "class_logits": (K,)}
    values = {name: rng.normal(size=(B, P, *shape)) for name, shape in shapes.items()}
    more = proposals - P
    # Padding holds rubbish.
    return {k: np.pad(v, [(0, 0), (0, more)] + [(0, 0)] * (v.ndim - 2), constant_values=7) for k, v in values.items()}


def as_float32(values):
    return {name: x.astype(np.float32) for name, x in values.items()}


def run(values, batch, *, threshold=0.5, **options):
    """Losses by name, and gradients of their sum by output; every output belongs to one loss."""

    def f(values):
        output = RegressorOutput(proposals=batch.proposals, segments=batch.proposals, **values)
        truth = (batch.segments, batch.segment_labels, batch.segment_mask, batch.proposal_mask)
        losses = stage_loss(output, *truth, threshold=threshold, **options)
        return sum(losses.values()), losses

    grads, losses = jax.grad(f, has_aux=True)(values)
    return losses, grads


compiled = jax.jit(run)
compiled_hard = jax.jit(functools.partial(run, class_target="hard", class_threshold=0.4))
compiled_random = jax.jit(lambda values, batch, key: run(values, batch, threshold=0.7, rng=key))


def matched(batch, given=None):
    """(b, p, IoU, ground truth, its label) of every real proposal; of given [B, P] ground truths, or of the best."""
    for b, p in np.ndindex(*batch.proposals.shape[:2]):
        if not batch.proposal_mask[b, p]:
            continue
        proposal = batch.proposals[b, p].astype(float)
        best, segment, label = 0.0, None, None
        for g in range(batch.segments.shape[1]) if given is None else [given[b, p]]:
            u = references.iou(proposal, batch.segments[b, g].astype(float))
            if batch.segment_mask[b, g] and u > best:
                best, segment, label = u, batch.segments[b, g].astype(float), int(batch.segment_labels[b, g])
        yield b, p, best, segment, label


def reference(values, batch, threshold=0.5, beta=1.0, class_target="iou", class_threshold=0.5, given=None):
    """The stage's losses with the expectation of the draw."""
    ends, center, hits = [], [], 0
    bins = {"high": [], "middle": [], "low": []}
    classes = 0.0
    for b, p, u, segment, label in matched(batch, given):
        s, e = batch.proposals[b, p].astype(float)
        if u >= threshold:
            w, gs, ge = e - s, *segment
            targets = ((gs - s) / w, (ge - e) / w)
            ends.append(sum(references.smooth_l1(values["ends"][b, p, i] - targets[i], beta) for i in range(2)))
            targets = (((gs + ge) / 2 - (s + e) / 2) / w, math.log((ge - gs) / w))
            center.append(sum(references.smooth_l1(values["center"][b, p, i] - targets[i], beta) for i in range(2)))
        error = references.smooth_l1(references.sigmoid(values["iou_logit"][b, p]) - u)
        bins["high" if u > threshold else "middle" if u > 0.3 else "low"].append(error)
        hit = u >= class_threshold
        hits += hit
        for k in range(K):
            y = (u if class_target == "iou" else 1.0) if hit and k == label else 0.0
            z = values["class_logits"][b, p, k]
            classes += references.cross_entropy(z, y) * abs(y - references.sigmoid(z)) ** 2
    count = len(bins["high"])
    total, weight = sum(bins["high"]), count
    for name in ("middle", "low"):
        drawn = min(count, len(bins[name]))
        total += drawn * np.mean(bins[name]) if drawn else 0.0
        weight += drawn

    def mean(x):
        return sum(x) / len(x) if x else 0.0

    confidence = total / weight if weight else 0.0
    return {"ends": mean(ends), "center": mean(center), "confidence": confidence, "classes": classes / max(hits, 1)}


@pytest.mark.parametrize(("threshold", "beta"), [(0.5, 1.0), (0.7, 0.25)])
def test_losses_and_gradients(threshold, beta):
    values = outputs()
    losses, grads = compiled(as_float32(values), BATCH, threshold=threshold, regression_beta=beta)
    expected = reference(values, BATCH, threshold, beta)
    assert set(losses) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-4, err_msg=name)
    for name in OUTPUTS:
        slope = gradient(
            lambda z, n=name: sum(reference({**values, n: z}, BATCH, threshold, beta).values()), values[name]
        )
        assert np.abs(slope).max() > 0
        np.testing.assert_allclose(grads[name], slope, rtol=1e-3, atol=1e-5, err_msg=name)


def test_hard_class_targets():
    values = outputs()
    losses, grads = compiled_hard(as_float32(values), BATCH)
    options = {"class_target": "hard", "class_threshold": 0.4}
    np.testing.assert_allclose(losses["classes"], reference(values, BATCH, **options)["classes"], rtol=1e-4)
    slope = gradient(
        lambda z: reference({**values, "class_logits": z}, BATCH, **options)["classes"], values["class_logits"]
    )
    np.testing.assert_allclose(grads["class_logits"], slope, rtol=1e-3, atol=1e-5)


def test_proposals_that_answer_to_a_given_segment():
    """Not the one they overlap most: the released code keeps the first stage's for all stages."""
    given = np.stack([(np.arange(P) // 2) % 2, np.zeros(P, int)]).astype(np.int32)
    batch = BATCH.replace(segments=np.array([[[1, 6], [2, 6.5]], [[2, 8], [0, 0]]], np.float32))
    losses, _ = jax.jit(functools.partial(run, threshold=0.3))(as_float32(outputs()), batch, matched=given)
    expected = reference(outputs(), batch, threshold=0.3, given=given)
    other = reference(outputs(), batch, threshold=0.3)
    for name in losses:
        np.testing.assert_allclose(losses[name], expected[name], rtol=1e-4, err_msg=name)
        assert abs(expected[name] - other[name]) > 1e-3


def test_a_stage_without_class_head_has_no_class_loss():
    values = as_float32({**outputs(), "class_logits": np.zeros((B, P, 0))})
    assert set(compiled(values, BATCH)[0]) == {"ends", "center", "confidence"}


def no_slots(batch):
    return batch.replace(
        segments=batch.segments[:, :0],
        segment_labels=batch.segment_labels[:, :0],
        segment_mask=batch.segment_mask[:, :0],
    )


@pytest.mark.parametrize("batch", [without_truth(BATCH), no_slots(BATCH)], ids=["all masked", "no slots"])
def test_without_truth_losses_and_gradients_are_finite(batch):
    values = outputs()
    losses, grads = compiled(as_float32(values), batch)
    for name in ("ends", "center", "confidence"):
        assert losses[name] == 0
    np.testing.assert_allclose(losses["classes"], reference(values, batch)["classes"], rtol=1e-4)
    for name in ("ends", "center", "iou_logit"):
        np.testing.assert_array_equal(grads[name], 0)
    assert np.isfinite(grads["class_logits"]).all()


def test_no_positive_at_a_high_threshold():
    losses, grads = compiled(as_float32(outputs()), BATCH, threshold=0.9999)
    assert losses["ends"] == losses["center"] == losses["confidence"] == 0
    assert all(np.isfinite(g).all() for g in grads.values())


def test_everything_masked_gives_zero_and_no_gradient():
    batch = BATCH.replace(proposal_mask=np.zeros_like(BATCH.proposal_mask))
    losses, grads = compiled(as_float32(outputs()), batch)
    assert all(value == 0 for value in losses.values())
    for grad in grads.values():
        np.testing.assert_array_equal(grad, 0)


def test_padding_further_and_order_change_nothing():
    losses, grads = compiled(as_float32(outputs()), BATCH)
    padded, further = compiled(as_float32(outputs(P + 4)), pad_further(BATCH, slots=2, proposals=4))
    swapped, _ = compiled(reorder(as_float32(outputs()), [1, 0]), reorder(BATCH, [1, 0]))
    for name, value in losses.items():
        np.testing.assert_allclose(padded[name], value, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(swapped[name], value, rtol=1e-5, err_msg=name)
    for name in OUTPUTS:
        np.testing.assert_allclose(further[name][:, :P], grads[name], atol=1e-6)
        np.testing.assert_array_equal(further[name][:, P:], 0)


def test_random_negatives_change_the_confidence_alone_and_keep_its_mean():
    values = as_float32(outputs())
    draws = [compiled_random(values, BATCH, jax.random.key(i))[0] for i in range(300)]
    expected, _ = compiled(values, BATCH, threshold=0.7)
    confidence = np.array([d["confidence"] for d in draws])
    assert confidence.std() > 0
    np.testing.assert_allclose(confidence.mean(), expected["confidence"], atol=6 * confidence.std() / np.sqrt(300))
    for name in ("ends", "center", "classes"):
        np.testing.assert_allclose(draws[0][name], expected[name], rtol=1e-6)


def test_video_class_loss():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(4, K)), rng.integers(0, 2, (4, K)).astype(float)

    def expected(logits):
        pairs = zip(logits.ravel(), labels.ravel(), strict=True)
        return np.mean([references.cross_entropy(z, y) for z, y in pairs])

    value, slope = jax.jit(jax.value_and_grad(video_class_loss))(logits.astype(np.float32), labels.astype(np.float32))
    np.testing.assert_allclose(value, expected(logits), rtol=1e-5)
    np.testing.assert_allclose(slope, gradient(expected, logits), rtol=1e-3, atol=1e-6)


def test_snippet_class_loss():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(B, 12, K))
    # Two segments of one class overlap, and two ends lie on centres of snippets.
    batch = BATCH.replace(
        segments=np.array([[[1.5, 5], [3, 7.5]], [[2, 8], [0, 9]]], np.float32),
        segment_labels=np.array([[1, 1], [2, 0]], np.int32),
        segment_mask=np.array([[True, True], [True, False]]),
    )

    def expected(logits):
        total = 0.0
        for b, t, k in np.ndindex(*logits.shape):
            held = any(
                real and label == k and s <= t + 0.5 < e
                for (s, e), label, real in zip(
                    batch.segments[b], batch.segment_labels[b], batch.segment_mask[b], strict=True
                )
            )
            total += references.cross_entropy(logits[b, t, k], float(held)) * batch.mask[b, t]
        return total / batch.mask.sum()

    def found(logits):
        return snippet_class_loss(logits, batch.segments, batch.segment_labels, batch.segment_mask, batch.mask)

    value, slope = jax.jit(jax.value_and_grad(found))(logits.astype(np.float32))
    np.testing.assert_allclose(value, expected(logits), rtol=1e-5)
    np.testing.assert_allclose(slope, gradient(expected, logits), rtol=1e-3, atol=1e-6)
