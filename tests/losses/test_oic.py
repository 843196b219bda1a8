"""The outer-inner-contrastive loss against loops over positions, classes and anchors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import weak_references as weak
from support.derivatives import gradient
from support.sharded import on_four_devices

from tal_jax.losses.oic import contrast, oic_loss

B, T, M, K = 4, 6, 3, 2
LENGTHS = (6, 4, 1, 3)
MASK = np.arange(T)[None] < np.array(LENGTHS)[:, None]
LABELS = np.array([[1, 0], [1, 1], [0, 1], [1, 1]], np.float32)
compiled = jax.jit(oic_loss)
compiled_slopes = jax.jit(jax.value_and_grad(oic_loss, argnums=(0, 1)))
compiled_contrast = jax.jit(lambda cas, segments: contrast(cas, segments, MASK, inflation=0.25))


def inputs(seed=0):
    """Activations and segments around every position: short and long, some beyond the ends, some empty or swapped."""
    rng = np.random.default_rng(seed)
    cas = rng.uniform(0, 1, (B, T, K))
    centre = np.arange(T)[None, :, None] + 0.5 + rng.normal(0, 0.4, (B, T, M))
    width = np.array([1.3, 3.1, 6.3]) * np.exp(rng.normal(0, 0.3, (B, T, M)))
    segments = np.stack([centre - width / 2, centre + width / 2], axis=-1)
    segments[0, 2, 0] = segments[0, 2, 0, ::-1]  # swapped
    segments[1, 1, 1] = (-6.2, -3.1)
    segments[3, 0, 2] = (20.1, 30.2)
    return cas, segments


def as_float32(*arrays):
    return tuple(a.astype(np.float32) for a in arrays)


def reference(cas, segments, labels=LABELS, lengths=LENGTHS, **options):
    real = [slice(n) for n in lengths]
    return weak.oic_loss(
        [x[n] for x, n in zip(cas, real, strict=True)],
        [z[n] for z, n in zip(segments, real, strict=True)],
        labels,
        **options,
    )


def test_contrast_of_every_segment():
    cas, segments = inputs()
    found = np.asarray(compiled_contrast(*as_float32(cas, segments)))
    assert found.shape == (B, T, M, K)
    for b, t, m, k in np.ndindex(*found.shape):
        expected = weak.contrast(cas[b, : LENGTHS[b], k], *segments[b, t, m], 0.25)
        np.testing.assert_allclose(found[b, t, m, k], expected, rtol=1e-4, atol=1e-5)
    assert found.min() > 0
    assert found.max() < 1


OPTIONS = [
    {},
    {"min_activation": 0.4, "max_contrast": 0.45},
    {"inflation": 0.6, "max_contrast": 2.0},
    {"min_activation": -1.0, "max_contrast": 2.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values_and_gradients(options):
    cas, segments = inputs()
    names = {"gamma" if name == "inflation" else name: value for name, value in options.items()}
    value, (dcas, dsegments) = compiled_slopes(*as_float32(cas, segments), MASK, LABELS, **options)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, reference(cas, segments, **names), rtol=1e-4)
    for found, expected in (
        (dcas, gradient(lambda z: reference(z, segments, **names), cas)),
        (dsegments, gradient(lambda z: reference(cas, z, **names), segments)),
    ):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)


def test_thresholds_decide_who_takes_part():
    """Each option of the test above changes the value, so each threshold matters there."""
    cas, segments = inputs()
    found = {float(compiled(*as_float32(cas, segments), MASK, LABELS, **options)) for options in OPTIONS}
    assert len(found) == len(OPTIONS)


def test_only_the_best_anchor_counts():
    """Of a plateau: the anchor on it, not the wider and the shifted one."""
    cas = np.array([0, 0, 1, 1, 0, 0], np.float32)[None, :, None]
    anchors = np.array([[2, 4], [0, 6], [3, 5]], np.float32)
    segments = np.broadcast_to(anchors, (1, T, M, 2))
    mask, labels = np.ones((1, T), bool), np.ones((1, 1), np.float32)
    value, (_, slope) = compiled_slopes(cas, segments, mask, labels)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_array_equal(slope[0, :, 1:], 0)
    # Only positions on the plateau are active.
    np.testing.assert_array_equal(slope[0, [0, 1, 4, 5]], 0)


def test_descent_moves_the_ends_to_the_plateau():
    cas = np.array([0, 0, 1, 1, 1, 0], np.float32)[None, :, None]
    mask, labels = np.ones((1, T), bool), np.ones((1, 1), np.float32)
    segments = np.broadcast_to(np.array([2.6, 4.2], np.float32), (1, T, 1, 2))
    for _ in range(200):
        _, (_, slope) = compiled_slopes(cas, segments, mask, labels)
        segments = segments - 0.1 * slope
    np.testing.assert_allclose(segments[0, 2:5, 0], [[2, 5]] * 3, atol=0.1)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda cas, segments, mask, labels: (0 * cas, segments, mask, labels), id="CAS of zeros"),
        pytest.param(lambda cas, segments, mask, labels: (cas, segments, mask, 0 * labels), id="no labels"),
        pytest.param(lambda cas, segments, mask, labels: (cas, segments, mask & False, labels), id="all padding"),
        pytest.param(lambda cas, segments, mask, labels: (cas * 0 + 1, segments * 0 + 50, mask, labels), id="outside"),
    ],
)
def test_where_nothing_can_be_learned_loss_and_gradients_are_finite(change):
    value, slopes = compiled_slopes(*change(*as_float32(*inputs()), MASK, LABELS))
    # Segments outside of the recording contrast neither way.
    assert value in (0, 0.5)
    for slope in slopes:
        assert np.isfinite(slope).all()
        np.testing.assert_array_equal(slope[1], 0)


@pytest.mark.parametrize("ends", [(3, 3), (4, 2), (2.25, 2.25), (-4, 30), (0, 7), (7, 7), (0, 0), (-1, 0)])
def test_degenerate_segments_are_finite(ends):
    """Inner or outer area of zero length, swapped ends, ends on the recording's."""
    cas, _ = inputs()
    segments = np.broadcast_to(np.array(ends, float), (B, T, M, 2))
    value, slopes = compiled_slopes(*as_float32(cas, segments), MASK, LABELS, max_contrast=2.0)
    np.testing.assert_allclose(value, reference(cas, segments, max_contrast=2.0), rtol=1e-4)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_rubbish_in_padding_changes_nothing():
    cas, segments = as_float32(*inputs())
    value, slopes = compiled_slopes(cas, segments, MASK, LABELS)
    dirty = np.where(MASK[..., None], cas, np.nan), np.where(MASK[..., None, None], segments, -3e3)
    found, dirty_slopes = compiled_slopes(*as_float32(*dirty), MASK, LABELS)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    more = [np.pad(z, [(0, 0), (0, 4)] + [(0, 0)] * (z.ndim - 2), constant_values=9) for z in (cas, segments)]
    further, more_slopes = compiled_slopes(*more, np.pad(MASK, [(0, 0), (0, 4)]), LABELS)
    np.testing.assert_allclose(further, value, rtol=1e-6)
    for expected, a, b in zip(slopes, dirty_slopes, more_slopes, strict=True):
        np.testing.assert_allclose(a, expected, atol=1e-6)
        np.testing.assert_allclose(b[:, :T], expected, atol=1e-6)
        np.testing.assert_array_equal(b[:, T:], 0)
        np.testing.assert_array_equal(np.asarray(a)[~MASK], 0)


def test_order_and_number_of_devices_change_nothing():
    arrays = (*as_float32(*inputs()), MASK, LABELS)
    value, slopes = compiled_slopes(*arrays)
    order = np.array([2, 0, 3, 1])
    swapped, _ = compiled_slopes(*(z[order] for z in arrays))
    np.testing.assert_allclose(swapped, value, rtol=1e-6)
    # The mean is over the whole batch, although the devices' recordings hold different numbers of positions.
    _, split = on_four_devices(np.zeros(()), arrays)
    found, split_slopes = compiled_slopes(*split)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    for a, b in zip(split_slopes, slopes, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
