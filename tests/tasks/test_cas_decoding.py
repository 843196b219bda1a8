"""From sequences to detections, against loops over thresholds, positions and classes."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import references
from support import weak_references as weak

from tal_jax.tasks import cas_decoding as localization
from tal_jax.tasks.cas_decoding import Decoding, localize, merge_windows, select_classes
from tal_jax.types import Detections

B, T, K, M = 4, 14, 3, 2
LENGTHS = (14, 9, 5, 1)
MASK = np.arange(T)[None] < np.array(LENGTHS)[:, None]
STRIDE = np.array([0.5, 0.25, 2.0, 1.0], np.float32)
FIXED = {
    "thresholds": 5, "max_contrast": 0.55, "candidates": 30, "detections": 20, "nms_method": "gaussian", "both": False,
}  # fmt: skip

compiled = jax.jit(localize, static_argnames=tuple(FIXED))
compiled_classes = jax.jit(select_classes)


def inputs(seed=0):
    """Sequences [B, T, K] that wander, probabilities, and segments around every position, some beyond the ends."""
    rng = np.random.default_rng(seed)
    cas = np.cumsum(rng.normal(size=(B, T, K)), axis=1)
    centre = np.arange(T)[None, :, None] + 0.5 + rng.normal(0, 0.5, (B, T, M))
    width = np.array([2.1, 5.3]) * np.exp(rng.normal(0, 0.3, (B, T, M)))
    segments = np.stack([centre - width / 2, centre + width / 2], axis=-1)
    segments[0, 0] = -4.3, -1.2  # outside
    segments[1, 8] = 9.6, 12.0
    probabilities = rng.uniform(size=(B, K))
    return cas.astype(np.float32), probabilities.astype(np.float32), segments.astype(np.float32)


def decode(cas, probabilities, segments=None, decoding=None, *, mask=MASK, stride=STRIDE, **options):
    segments = np.zeros((*mask.shape, 0, 2), np.float32) if segments is None else segments
    decoding = jax.tree.map(np.float32, decoding or Decoding())
    found = compiled(cas, probabilities, mask, stride, segments, decoding, **{**FIXED, **options})
    return jax.tree.map(np.asarray, found)


def selected(probabilities, threshold):
    best = max(range(len(probabilities)), key=lambda k: probabilities[k])
    return [k for k, p in enumerate(probabilities) if p >= threshold or k == best]


def by_loop(cas, probabilities, stride, segments, decoding, *, thresholds, max_contrast, candidates, detections,
            nms_method, both):  # fmt: skip
    """One recording without padding: rows (segment, label, score), best first."""
    n = len(cas)
    x = [weak.scaled(weak.smooth(cas[:, k], decoding.smoothing / stride)) ** decoding.sharpness for k in range(K)]
    classes = selected(probabilities, decoding.class_threshold)

    def gain(k, segment):  # mean inside minus mean outside
        inner, outer = weak.inner_outer(x[k], *segment, decoding.inflation)
        return inner - outer

    rows = []  # position, class, segment, contrast: in the order that decides between equals
    if segments is not None:
        for t, k in np.ndindex(n, K):
            best = max(segments[t], key=lambda segment, k=k: gain(k, segment))
            contrast = gain(k, best)
            if k in classes and x[k][t] >= decoding.lowest and (1 - contrast) / 2 <= max_contrast:
                rows.append((k, tuple(np.clip(best, 0, n)), contrast * (decoding.regressed_weight if both else 1)))
    if both or segments is None:
        for j in range(thresholds):
            level = decoding.lowest + (decoding.highest - decoding.lowest) * j / (thresholds - 1)
            found = [(t, k, (s, e)) for k in classes for t, s, e in weak.runs(x[k], level)]
            rows += [(k, segment, gain(k, segment)) for _, k, segment in sorted(found)]
    if 2 * n - 1 <= max(decoding.smoothing / stride, 1):  # no window sees less than the whole
        rows = [(k, (0, n), 0.0) for k in classes]
    rows = [(z, k, c + decoding.class_weight * probabilities[k], 0.0) for k, z, c in rows if z[0] < z[1]]
    rows = sorted((row for row in rows if row[2] > 0), key=lambda row: -row[2])[:candidates]
    sigma = decoding.nms_sigma
    return references.soft_nms(rows, top_k=detections, method=nms_method, sigma=sigma, min_score=1e-4)


DECODINGS = {
    "default": Decoding(),
    "smooth": Decoding(smoothing=1.3),
    "few classes": Decoding(class_threshold=1.1),
    "all classes": Decoding(class_threshold=0.0, class_weight=1.0),
    "levels": Decoding(lowest=0.35, highest=0.62, inflation=0.6),
    "sharp": Decoding(sharpness=1.7, regressed_weight=0.6),
    "no classes": Decoding(class_weight=0.0, nms_sigma=0.05),
}
FEWER = {"candidates": 7, "detections": 4, "nms_method": "hard"}
BOTH = {"both": True}
CASES = [
    *((name, {}, regressed) for name in DECODINGS for regressed in (False, True)),
    ("all classes", FEWER, True),
    ("sharp", BOTH, True),
    ("levels", {**BOTH, "nms_method": "linear"}, True),
]
IDS = [
    f"{name}-{'regressed' if regressed else 'thresholded'}{len(options) or ''}" for name, options, regressed in CASES
]


@pytest.mark.parametrize(("name", "options", "regressed"), CASES, ids=IDS)
def test_a_loop_over_candidates(name, options, regressed):
    cas, probabilities, segments = inputs()
    decoding = DECODINGS[name]
    found = decode(cas, probabilities, segments if regressed else None, decoding, **options)
    total = 0
    for b, n in enumerate(LENGTHS):
        given = segments[b, :n].astype(float) if regressed else None
        arguments = cas[b, :n].astype(float), probabilities[b].astype(float), float(STRIDE[b]), given, decoding
        rows = by_loop(*arguments, **{**FIXED, **options})
        count = len(rows)
        np.testing.assert_array_equal(found.mask[b], np.arange(found.mask.shape[1]) < count)
        np.testing.assert_array_equal(found.labels[b, :count], [label for _, label, _ in rows])
        np.testing.assert_allclose(found.scores[b, :count], [score for *_, score in rows], rtol=1e-3, atol=1e-5)
        ends = np.reshape([segment for segment, *_ in rows], (-1, 2))
        np.testing.assert_allclose(found.segments[b, :count], ends, rtol=1e-4, atol=1e-4)
        total += count
    assert total >= 5


def test_a_minimum_that_is_rounded_below_zero_does_no_harm(monkeypatch):
    """Compiled with optimisation, a scaled sequence was found to dip to -1e-8, and its power was NaN."""
    cas, probabilities, _ = inputs()
    decoding = Decoding(sharpness=1.7)
    options = {**FIXED, "thresholds": 3}
    nothing = np.zeros((*MASK.shape, 0, 2), np.float32)
    expected = localize(cas, probabilities, MASK, STRIDE, nothing, decoding, **options)
    plain = localization.scaled
    monkeypatch.setattr(localization, "scaled", lambda x, mask: plain(x, mask) - np.float32(1e-8))
    found = localize(cas, probabilities, MASK, STRIDE, nothing, decoding, **options)
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def check_sensible(found, lengths):
    for b, n in enumerate(lengths):
        real = found.mask[b]
        assert all(np.isfinite(x[b]).all() for x in (found.segments, found.scores))
        assert (found.segments[b] >= 0).all()
        assert (found.segments[b] <= n).all()
        assert (found.segments[b, real, 0] < found.segments[b, real, 1]).all()
        assert (found.scores[b, real] > 0).all()
        assert (np.diff(found.scores[b]) <= 0).all()
        assert not found.scores[b, ~real].any()


@given(st.integers(0, 10_000), st.sampled_from([1.0, 1e-6, 1e6]), st.booleans(), st.sampled_from(list(DECODINGS)))
def test_detections_are_sensible_whatever_the_sequences(seed, scale, regressed, name):
    rng = np.random.default_rng(seed)
    cas, probabilities, segments = inputs(seed)
    cas = np.round(cas) * np.float32(scale)  # plateaus, and values that are exactly at a threshold
    lengths = rng.integers(0, T + 1, B)
    segments = np.sort(rng.normal(5, 20, (B, T, M, 2)), axis=-1).astype(np.float32) if seed % 2 else segments
    mask = np.arange(T)[None] < lengths[:, None]
    check_sensible(
        decode(cas, probabilities, segments if regressed else None, DECODINGS[name], mask=mask), lengths.tolist()
    )


def test_a_peak_that_only_touches_the_highest_threshold_is_no_detection():
    cas = np.zeros((B, T, K), np.float32)
    cas[:, :, 0] = np.maximum(1 - np.abs(np.arange(T) - 4) / 4, 0)
    found = decode(cas, np.full((B, K), 0.9, np.float32), None, Decoding(lowest=1.0, highest=1.0, class_weight=1.0))
    assert not found.mask[:2].any()
    assert np.unique(found.segments[2, found.mask[2]], axis=0).tolist() == [[4.5, 5]]  # up to the end of the recording
    check_sensible(found, LENGTHS)


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
@pytest.mark.parametrize("regressed", [False, True], ids=["thresholded", "regressed"])
def test_constant_sequences_give_nothing(regressed, value):
    _, probabilities, segments = inputs()
    cas = np.full((B, T, K), value, np.float32)
    for decoding in (Decoding(), Decoding(smoothing=2.0)):
        found = decode(cas, probabilities, segments if regressed else None, decoding)
        check_sensible(found, LENGTHS)
        assert not found.mask[:3].any()


@pytest.mark.parametrize("regressed", [False, True], ids=["thresholded", "regressed"])
def test_a_recording_in_which_no_part_can_stand_out_is_found_as_a_whole(regressed):
    """One snippet; or two, where windows of three see both from either: their classes alone rank them."""
    cas, probabilities, segments = inputs()
    mask = np.arange(T)[None] < np.array([1, 2, 3, 2])[:, None]
    decoding = Decoding(smoothing=3.0, class_threshold=0.0)
    stride = np.array([1.0, 1.0, 1.0, 4.0], np.float32)  # in the last one, three seconds are less than a snippet
    found = decode(cas, probabilities, segments if regressed else None, decoding, mask=mask, stride=stride)
    check_sensible(found, [1, 2, 3, 2])
    for b, n in ((0, 1), (1, 2)):
        order = np.argsort(-probabilities[b])
        assert found.labels[b, found.mask[b]].tolist() == order.tolist()
        np.testing.assert_allclose(found.scores[b, :K], 0.25 * probabilities[b, order], rtol=1e-6)
        assert (found.segments[b, :K] == [0, n]).all()
    for b in (2, 3):
        assert (np.diff(found.segments[b, found.mask[b]], axis=1) < 2).any()  # parts, as of longer ones


def equal(found, expected):
    for name in ("segments", "labels", "scores", "mask"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5, err_msg=name)


def test_smoothing_is_in_seconds():
    """The same sequence at two strides: twice the seconds per snippet is half the snippets per second."""
    cas, probabilities, _ = inputs()
    plain = decode(cas, probabilities)
    fine = decode(cas, probabilities, None, Decoding(smoothing=1.5), stride=np.full(B, 0.5, np.float32))
    coarse = decode(cas, probabilities, None, Decoding(smoothing=3.0), stride=np.full(B, 1.0, np.float32))
    equal(fine, coarse)
    assert np.abs(fine.segments[:2] - plain.segments[:2]).max() > 0.1
    # Less than a snippet is none.
    equal(decode(cas, probabilities, None, Decoding(smoothing=1.5), stride=np.full(B, 2.0, np.float32)), plain)
    mixed = decode(cas, probabilities, None, Decoding(smoothing=1.5), stride=np.array([0.5, 2, 0.5, 2], np.float32))
    for b in range(B):
        row, other = (jax.tree.map(lambda x, b=b: x[b], d) for d in (mixed, (fine, plain)[b % 2]))
        equal(row, other)


@pytest.mark.parametrize("regressed", [False, True], ids=["thresholded", "regressed"])
def test_padding_further_changes_nothing(regressed):
    cas, probabilities, segments = inputs()
    given = segments if regressed else None
    decoding = Decoding(smoothing=1.3)
    more = [(0, 0), (0, 6)]
    rubbish = np.pad(cas, [*more, (0, 0)], constant_values=9)
    padded = None if given is None else np.pad(given, [*more, (0, 0), (0, 0)], constant_values=7)
    found = decode(rubbish, probabilities, padded, decoding, mask=np.pad(MASK, more))
    equal(found, decode(cas, probabilities, given, decoding))


def test_no_row_sees_another():
    cas, probabilities, segments = inputs()
    order = np.array([2, 0, 3, 1])
    found = decode(cas[order], probabilities[order], segments[order], mask=MASK[order], stride=STRIDE[order])
    equal(found, jax.tree.map(lambda x: x[order], decode(cas, probabilities, segments)))


@given(
    hnp.arrays(np.float32, (B, K), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75]) | st.floats(0, 1, width=32)),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.1]),
)
def test_selected_classes(probabilities, threshold):
    found = np.asarray(compiled_classes(probabilities, np.float32(threshold)))
    assert found.dtype == bool
    for b in range(B):
        assert np.flatnonzero(found[b]).tolist() == selected(probabilities[b], np.float32(threshold))


def test_there_is_always_a_class():
    """Even where a threshold compares false with everything."""
    probabilities = np.array([[0.2, 0.9, 0.9], [0.0, 0.0, 0.0]], np.float32)
    for threshold in (1.1, np.nan):
        np.testing.assert_array_equal(
            select_classes(probabilities, np.float32(threshold)), [[False, True, False], [True, False, False]]
        )


def test_merging_windows_drops_nothing():
    windows = Detections(
        segments=np.array([[[0, 4], [0, 4], [1, 4], [5, 6], [0, 0]]], np.float32),
        labels=np.array([[0, 1, 0, 0, 0]], np.int32),
        scores=np.array([[0.9, 0.5, 0.8, 1e-6, 0]], np.float32),
        mask=np.array([[True, True, True, True, False]]),
    )
    for method, factor in (("gaussian", np.exp(-(0.75**2) / 0.3)), ("linear", 0.25)):
        merged = jax.jit(functools.partial(merge_windows, method=method, sigma=0.3))(windows)
        order = sorted(range(4), key=lambda i: -[0.9, 0.5, 0.8 * factor, 1e-6][i])
        np.testing.assert_array_equal(merged.mask, [[True, True, True, True, False]])
        np.testing.assert_allclose(merged.scores[0, :4], [[0.9, 0.5, 0.8 * factor, 1e-6][i] for i in order], rtol=1e-5)
        np.testing.assert_array_equal(merged.labels[0], [*windows.labels[0, order], -1])
        np.testing.assert_array_equal(merged.segments[0, :4], windows.segments[0, order])
