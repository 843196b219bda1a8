"""Labels and losses of pyramid points against loops over points and segments, and against PyTorch."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.losses.actionformer import (
    PointLabels,
    distance_iou_loss,
    label_points,
    pyramid_loss,
    running_positives,
)
from tal_jax.models.pyramid import Points

K = 3
RANGES = ((0.0, 4.0), (2.0, 8.0), (8.0, math.inf))  # the first two overlap
POINTS = Points.of(32, 3)


def drawn(seed, count=6):
    """Segments among which some have the same length, the same place, or both, on a grid of quarters."""
    rng = np.random.default_rng(seed)
    start = rng.integers(-4, 100, (2, count)) / 4
    segments = np.stack([start, start + rng.integers(1, 60, (2, count)) / 4], -1).astype(np.float32)
    segments[:, 1] = segments[:, 0]
    segments[0, 2] = segments[0, 3] + 5
    return segments, rng.integers(0, K, (2, count)).astype(np.int32), rng.uniform(size=(2, count)) < 0.8


def by_loops(segments, labels, real, radius):
    classes, distances = np.zeros((len(POINTS.position), K)), np.zeros((len(POINTS.position), 2))
    for m, (t, s, level) in enumerate(zip(POINTS.position, POINTS.stride, POINTS.level, strict=True)):
        low, high = RANGES[level]
        found = []
        for (a, b), label, exists in zip(segments.astype(float), labels, real, strict=True):
            c = (a + b) / 2
            if exists and max(c - radius * s, a) < t < min(c + radius * s, b) and low <= max(t - a, b - t) <= high:
                found.append((b - a, a, b, label))
        if found:
            best = min(found, key=lambda x: x[0])  # the first of equals
            distances[m] = (t - best[1]) / s, (best[2] - t) / s
            for length, _, _, label in found:
                if length <= best[0] + 1e-3:
                    classes[m, label] = 1
    return classes, distances


@pytest.mark.parametrize(("seed", "radius"), list(itertools.product(range(4), (1.5, 0.6))))
def test_labels_are_those_of_loops(seed, radius):
    segments, labels, real = drawn(seed)
    found = jax.jit(lambda s, y, m: label_points(POINTS, RANGES, s, y, m, K, radius))(segments, labels, real)
    for row in range(2):
        classes, distances = by_loops(segments[row], labels[row], real[row], radius)
        positive = classes.any(-1)
        np.testing.assert_array_equal(found.positive[row], positive)
        np.testing.assert_array_equal(found.classes[row], classes)
        np.testing.assert_allclose(np.asarray(found.distances[row])[positive], distances[positive], rtol=1e-6)
        assert positive.any()


def test_without_segments_nothing_is_positive():
    none = label_points(POINTS, RANGES, np.zeros((2, 0, 2), np.float32), np.zeros((2, 0), np.int32),
                        np.zeros((2, 0), bool), K, 1.5)  # fmt: skip
    segments, labels, real = drawn(0)
    masked = label_points(POINTS, RANGES, segments, labels, np.zeros_like(real), K, 1.5)
    for found in (none, masked):
        assert not found.positive.any()
        assert not found.classes.any()
        assert np.isfinite(found.distances).all() or not found.positive.any()
    assert running_positives(100.0, none, np.ones((2, len(POINTS.position)), bool), 0.9) == pytest.approx(90.1)


def test_distance_loss_by_hand():
    # [t - 2, t + 1] and [t - 1, t + 3]: 2 of 5 shared, centres 1 1/2 apart, cover 5.
    loss, iou = distance_iou_loss(jnp.array([2.0, 1.0]), jnp.array([1.0, 3.0]))
    assert (float(loss), float(iou)) == pytest.approx((1 - 0.4 + (1.5 / 5) ** 2, 0.4))
    loss, iou = distance_iou_loss(jnp.zeros(2), jnp.array([1.0, 3.0]))
    assert (float(loss), float(iou)) == pytest.approx((1 + (1 / 4) ** 2, 0))
    assert np.isfinite(jax.grad(lambda d: distance_iou_loss(d, jnp.zeros(2))[0])(jnp.zeros(2))).all()


def outputs(seed, by_class=False):
    rng = np.random.default_rng(seed)
    m = len(POINTS.position)
    logits = rng.normal(size=(2, m, K)).astype(np.float32)
    distances = rng.uniform(0, 5, (2, m, K if by_class else 1, 2)).astype(np.float32)
    mask = np.stack([POINTS.position < 32, POINTS.position < 21])
    return logits, distances, mask


@pytest.mark.parametrize("by_class", [False, True])
def test_what_stands_in_padding_does_not_matter(by_class):
    logits, distances, mask = outputs(0, by_class)
    labels = label_points(POINTS, RANGES, *drawn(1), K, 1.5)

    def loss(logits, distances):
        return pyramid_loss(logits, distances, mask, labels, 50.0, iou_power=0.2, smoothing=0.1)[0]

    clean, gradients = jax.value_and_grad(loss, (0, 1))(logits, distances)
    logits[1, ~mask[1]], distances[1, ~mask[1]] = np.nan, np.nan
    dirty, others = jax.value_and_grad(loss, (0, 1))(logits, distances)
    assert clean == dirty
    for a, b in zip(gradients, others, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.any(np.asarray(b)[1, ~mask[1]])


class TestAgainstPyTorch:
    @pytest.mark.parametrize(("smoothing", "weight"), [(0.0, 1.0), (0.1, 2.0), (0.0, -1.0)])
    def test_losses_and_gradients_of_actionformer(self, smoothing, weight):
        torch = pytest.importorskip("torch", reason="the PyTorch losses need the extra torch")
        from benchmarks.torch_onestage_loss import Normalizer, Targets, one_stage_loss

        logits, distances, mask = outputs(1)
        labels = label_points(POINTS, RANGES, *drawn(2), K, 1.5)

        def ours(logits, distances):
            count = running_positives(100.0, labels, mask, 0.9)
            return pyramid_loss(logits, distances, mask, labels, count, smoothing=smoothing, regression_weight=weight)

        (total, parts), gradients = jax.value_and_grad(ours, (0, 1), has_aux=True)(logits, distances)
        a, b = (torch.from_numpy(x.copy()).requires_grad_() for x in (logits, distances[:, :, 0]))
        targets = Targets(*(torch.from_numpy(np.array(x)) for x in (labels.classes, labels.distances)))
        found = one_stage_loss(a, b, torch.from_numpy(mask), targets, Normalizer(100.0, 0.9), smoothing, weight)
        found[0].backward()
        np.testing.assert_allclose([total, *parts.values()], [x.item() for x in found], rtol=1e-5)
        np.testing.assert_allclose(gradients[0], a.grad, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(gradients[1][:, :, 0], b.grad, rtol=1e-4, atol=1e-7)

    def test_losses_and_gradients_of_tridet(self):
        torch = pytest.importorskip("torch", reason="the PyTorch losses need the extra torch")
        from benchmarks.torch_onestage_loss import Normalizer, Targets
        from benchmarks.torch_tridet import tridet_loss

        logits, distances, mask = outputs(2, by_class=True)
        labels = label_points(POINTS, RANGES, *drawn(3), K, 1.5)

        def ours(logits, distances):
            count = running_positives(400.0, labels, mask, 0.9)
            return pyramid_loss(logits, distances, mask, labels, count, smoothing=0.1, iou_power=0.5)

        (total, parts), gradients = jax.value_and_grad(ours, (0, 1), has_aux=True)(logits, distances)
        a, b = (torch.from_numpy(x.copy()).requires_grad_() for x in (logits, distances))
        targets = Targets(*(torch.from_numpy(np.array(x)) for x in (labels.classes, labels.distances)))
        found = tridet_loss(a, b, torch.from_numpy(mask), targets, Normalizer(400.0, 0.9), 0.5, 0.1, 1.0)
        found[0].backward()
        np.testing.assert_allclose([total, *parts.values()], [x.item() for x in found], rtol=1e-5)
        np.testing.assert_allclose(gradients[0], a.grad, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(gradients[1], b.grad, rtol=1e-4, atol=1e-6)


def test_a_positive_of_two_classes_counts_for_both_where_distances_are_by_class():
    classes = jnp.array([[[1.0, 1.0, 0.0]]])
    labels = PointLabels(classes, jnp.ones((1, 1, 2)), jnp.ones((1, 1), bool))
    mask, logits = jnp.ones((1, 1), bool), jnp.zeros((1, 1, K))
    once = pyramid_loss(logits, jnp.full((1, 1, 1, 2), 2.0), mask, labels, 1.0)[1]["regression_loss"]
    twice = pyramid_loss(logits, jnp.full((1, 1, K, 2), 2.0), mask, labels, 1.0)[1]["regression_loss"]
    assert (float(once), float(twice)) == pytest.approx((0.5, 1.0))
