"""BMN's labels and loss against loops."""

import functools

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import references
from support.batches import make_batch, pad_further, reorder, without_truth
from support.derivatives import gradient

from tal_jax.losses.bmn import bmn_loss, boundary_labels, map_labels
from tal_jax.models.bmn import BMNOutput
from tal_jax.ops.boundary_matching import valid_cells

T, D, B = 5, 4, 2
MAPS = ("start", "end", "regression", "classification")
BATCH = make_batch(lengths=(5, 4), snippets=T, slots=2)
# Cells with IoUs on both sides of 0.3, 0.7 and 0.9: 1, 3.5 / 4 = 0.875, 0.75, 2 / 3, 0.5, 1 / 3, 0.25 ...
BATCH = BATCH.replace(segments=np.array([[[0, 2], [1.25, 4.75]], [[1, 3], [0, 4]]], np.float32))
quarters = st.integers(-4, 28).map(lambda x: x / 4)

labels_of_boundaries = jax.jit(boundary_labels, static_argnums=(2, 3))
labels_of_cells = jax.jit(map_labels, static_argnums=(2, 3))


def boundary_reference(boundaries, real, snippets, region=3.0):
    labels = np.zeros((len(boundaries), snippets))
    for b, t in np.ndindex(*labels.shape):
        for boundary, exists in zip(boundaries[b], real[b], strict=True):
            overlap = min(t + 1, boundary + region / 2) - max(t, boundary - region / 2)
            if exists:
                labels[b, t] = max(labels[b, t], overlap)
    return labels


def map_reference(segments, real):
    labels = np.zeros((len(segments), T, D))
    for b, t, d in np.ndindex(*labels.shape):
        known = segments[b][np.asarray(real[b])]
        labels[b, t, d] = max([references.iou((t, t + d + 1), g) for g in known], default=0)
    return labels


@given(hnp.arrays(np.float32, (B, 3), elements=quarters), hnp.arrays(bool, (B, 3)), st.sampled_from([3.0, 0.5]))
def test_boundary_labels(boundaries, real, region):
    found = labels_of_boundaries(boundaries, real, T, region)
    np.testing.assert_allclose(found, boundary_reference(boundaries, real, T, region), atol=1e-6)


@given(hnp.arrays(np.float32, (B, 3, 2), elements=quarters), hnp.arrays(bool, (B, 3)))
def test_map_labels(segments, real):
    np.testing.assert_allclose(labels_of_cells(segments, real, T, D), map_reference(segments, real), rtol=1e-5)


def test_labels_without_any_slot():
    none = np.zeros((B, 0), bool)
    np.testing.assert_array_equal(labels_of_boundaries(np.zeros((B, 0), np.float32), none, T, 3.0), np.zeros((B, T)))
    np.testing.assert_array_equal(labels_of_cells(np.zeros((B, 0, 2), np.float32), none, T, D), np.zeros((B, T, D)))


def logits(snippets=T, b=B):
    rng = np.random.default_rng(0)
    shapes = {"start": (b, T), "end": (b, T), "regression": (b, T, D), "classification": (b, T, D)}
    values = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    # Padding holds rubbish.
    more = snippets - T
    return {k: np.pad(v, [(0, 0), (0, more)] + [(0, 0)] * (v.ndim - 2), constant_values=7) for k, v in values.items()}


def run(maps, batch, **options):
    """Loss, its parts, and gradients of the loss by the name of the map."""

    def f(maps):
        output = BMNOutput(valid=valid_cells(batch.mask, D), **maps)
        return bmn_loss(output, batch.segments, batch.segment_mask, batch.mask, **options)

    return jax.value_and_grad(f, has_aux=True)(maps)


compiled = jax.jit(run)
compiled_random = jax.jit(lambda maps, batch, key: run(maps, batch, rng=key))


def as_float32(maps):
    return {name: x.astype(np.float32) for name, x in maps.items()}


def balanced(logit, positive):
    """Positives and negatives weigh one half each; a side without members is left out."""
    sides = (
        [references.cross_entropy(z, y) for z, y in zip(logit, positive, strict=True) if y == side] for side in (1, 0)
    )
    return sum(0.5 * np.mean(side) for side in sides if side)  # fmt: skip


def reference(maps, batch, regression_weight=10.0, overlapping=False):
    """The loss with the expectation of the draw, of all low cells or of those that overlap something."""
    truth, real, mask = (x.astype(float) if x.dtype == np.float32 else x for x in (
        batch.segments, batch.segment_mask, batch.mask))  # fmt: skip
    boundary = 0.0
    for name, side in (("start", 0), ("end", 1)):
        label = boundary_reference(truth[..., side], real, T)
        boundary += balanced(maps[name][mask], (label > 0.5)[mask].astype(int))
    iou = map_reference(truth, real)
    bins = {"high": [], "middle": [], "low": []}
    scores, hits = [], []
    for b, t, d in np.ndindex(*iou.shape):
        if not (t + d < T and mask[b, t] and mask[b, t + d]):
            continue
        error = (references.sigmoid(maps["regression"][b, t, d]) - iou[b, t, d]) ** 2
        u = iou[b, t, d]
        if u > 0 or not overlapping:
            bins["high" if u > 0.7 else "middle" if u > 0.3 else "low"].append(error)
        scores.append(maps["classification"][b, t, d])
        hits.append(int(u > 0.9))
    count = len(bins["high"])
    total, weight = float(sum(bins["high"])), float(count)
    for name in ("middle", "low"):
        drawn = min(count, len(bins[name]))
        total += drawn * float(np.mean(bins[name])) if drawn else 0.0
        weight += drawn
    regression = 0.5 * total / weight if weight else 0.0
    return boundary + regression_weight * regression + balanced(np.array(scores), hits)


def test_loss_and_gradients():
    maps = logits()
    (loss, parts), grads = compiled(as_float32(maps), BATCH)
    np.testing.assert_allclose(loss, reference(maps, BATCH), rtol=1e-4)
    np.testing.assert_allclose(loss, parts["boundary"] + 10 * parts["regression"] + parts["classification"], rtol=1e-6)
    for name in MAPS:
        expected = gradient(lambda z, name=name: reference({**maps, name: z}, BATCH), maps[name])
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(grads[name], expected, rtol=1e-3, atol=1e-5, err_msg=name)


def test_negatives_that_overlap():
    maps = logits()
    (loss, _), _ = jax.jit(functools.partial(run, overlapping_negatives=True))(as_float32(maps), BATCH)
    expected = reference(maps, BATCH, overlapping=True)
    assert abs(expected - reference(maps, BATCH)) > 1e-3
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_without_truth_only_negatives_are_left():
    maps = logits()
    batch = without_truth(BATCH)
    (loss, parts), grads = compiled(as_float32(maps), batch)
    np.testing.assert_allclose(loss, reference(maps, batch), rtol=1e-4)
    assert parts["regression"] == 0
    np.testing.assert_array_equal(grads["regression"], 0)
    assert all(np.isfinite(g).all() for g in grads.values())


def test_everything_masked_gives_zero_and_no_gradient():
    nothing = BATCH.replace(mask=np.zeros_like(BATCH.mask))
    for batch in (nothing, without_truth(nothing)):
        (loss, _), grads = compiled(as_float32(logits()), batch)
        assert loss == 0
        for grad in grads.values():
            np.testing.assert_array_equal(grad, 0)


def test_no_slots_are_no_truth():
    batch = BATCH.replace(segments=BATCH.segments[:, :0], segment_mask=BATCH.segment_mask[:, :0])
    (loss, _), grads = compiled(as_float32(logits()), batch)
    np.testing.assert_allclose(loss, compiled(as_float32(logits()), without_truth(BATCH))[0][0], rtol=1e-6)
    assert all(np.isfinite(g).all() for g in grads.values())


def test_padding_further_and_order_change_nothing():
    (expected, _), grads = compiled(as_float32(logits()), BATCH)
    more = pad_further(BATCH, snippets=3, slots=2)
    (padded, _), further = compiled(as_float32(logits(T + 3)), more)
    np.testing.assert_allclose(padded, expected, rtol=1e-5)
    for name in MAPS:
        np.testing.assert_allclose(further[name][:, :T], grads[name], atol=1e-6)
        np.testing.assert_array_equal(further[name][:, T:], 0)
    swapped = compiled(reorder(as_float32(logits()), [1, 0]), reorder(BATCH, [1, 0]))[0][0]
    np.testing.assert_allclose(swapped, expected, rtol=1e-5)


def test_random_negatives_have_the_same_mean():
    maps = as_float32(logits())
    parts = [compiled_random(maps, BATCH, jax.random.key(i))[0][1] for i in range(300)]
    values = np.array([p["regression"] for p in parts])
    (_, expected), _ = compiled(maps, BATCH)
    assert values.std() > 0
    np.testing.assert_allclose(values.mean(), expected["regression"], atol=6 * values.std() / np.sqrt(300))
    for name in ("boundary", "classification"):
        np.testing.assert_allclose(parts[0][name], expected[name], rtol=1e-6)


def test_weights_of_the_terms():
    maps = as_float32(logits())
    weighted = jax.jit(functools.partial(run, regression_weight=2.0, classification_weight=3.0))
    (loss, parts), _ = weighted(maps, BATCH)
    np.testing.assert_allclose(
        loss, parts["boundary"] + 2 * parts["regression"] + 3 * parts["classification"], rtol=1e-6
    )
