"""Geometry of segments: overlap, matching, codings and units."""

import jax
import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.references import iou, refine

from tal_jax import segments as geometry

# Eighths are exact in float32, so equalities can be tested as equalities.
eighths = st.integers(-800, 800).map(lambda x: x / 8)
P, G = 4, 3

pairwise_iou = jax.jit(geometry.pairwise_iou)
match = jax.jit(geometry.match)
encode_center, decode_center = jax.jit(geometry.encode_center), jax.jit(geometry.decode_center)
encode_ends, decode_ends = jax.jit(geometry.encode_ends), jax.jit(geometry.decode_ends)


def any_segments(n):
    """[n, 2], empty and swapped ones among them."""
    return hnp.arrays(np.float32, (n, 2), elements=eighths)


def proper_segments(n):
    """[n, 2] with widths of at least 1/8."""
    widths = st.integers(1, 400).map(lambda x: x / 8)
    row = st.tuples(eighths, widths).map(lambda x: (x[0], x[0] + x[1]))
    return st.lists(row, min_size=n, max_size=n).map(lambda x: np.array(x, np.float32))


@given(any_segments(P), any_segments(G))
def test_iou_agrees_with_the_definition_and_is_symmetric_and_bounded(a, b):
    found = np.asarray(pairwise_iou(a, b))
    np.testing.assert_allclose(found, [[iou(x, y) for y in b.astype(float)] for x in a.astype(float)], rtol=1e-6)
    np.testing.assert_array_equal(found, np.asarray(pairwise_iou(b, a)).T)
    assert ((found >= 0) & (found <= 1)).all()


@given(proper_segments(P), proper_segments(G), eighths, st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_iou_ignores_shifts_scales_and_mirrors(a, b, shift, scale):
    found = np.asarray(pairwise_iou(a, b))
    np.testing.assert_array_equal(pairwise_iou(a + np.float32(shift), b + np.float32(shift)), found)
    np.testing.assert_array_equal(pairwise_iou(a * np.float32(scale), b * np.float32(scale)), found)
    np.testing.assert_array_equal(pairwise_iou(-a[:, ::-1], -b[:, ::-1]), found)
    np.testing.assert_array_equal(np.diag(pairwise_iou(a, a)), 1)


def test_empty_and_swapped_segments_have_no_overlap():
    a = np.array([[1, 1], [3, 1], [0, 4]], np.float32)
    np.testing.assert_array_equal(pairwise_iou(a, a), np.diag([0.0, 0.0, 1.0]))


@given(
    hnp.arrays(np.float32, (2, P, 2), elements=eighths),
    hnp.arrays(np.float32, (2, G, 2), elements=eighths),
    hnp.arrays(bool, (2, G)),
)
def test_match_finds_the_best_real_segment(proposals, truth, real):
    value, index = (np.asarray(x) for x in match(proposals, truth, real))
    assert value.shape == index.shape == (2, P)
    for b, p in np.ndindex(2, P):
        overlaps = [iou(proposals[b, p].astype(float), g.astype(float)) for g in truth[b]]
        np.testing.assert_allclose(
            value[b, p], max([o for o, r in zip(overlaps, real[b], strict=True) if r], default=0)
        )
        if real[b].any():
            assert real[b, index[b, p]]
            np.testing.assert_allclose(overlaps[index[b, p]], value[b, p], rtol=1e-6)


def test_match_without_any_slot():
    value, index = match(np.ones((2, P, 2), np.float32), np.zeros((2, 0, 2), np.float32), np.zeros((2, 0), bool))
    np.testing.assert_array_equal(value, np.zeros((2, P), np.float32), strict=True)
    np.testing.assert_array_equal(index, np.zeros((2, P), np.int32), strict=True)


@given(proper_segments(P), proper_segments(P))
def test_decoding_inverts_encoding(proposals, targets):
    np.testing.assert_allclose(decode_center(proposals, encode_center(proposals, targets)), targets, atol=2e-3)
    np.testing.assert_allclose(decode_ends(proposals, encode_ends(proposals, targets)), targets, atol=2e-3)


@given(proper_segments(P), hnp.arrays(np.float32, (P, 2), elements=st.integers(-16, 16).map(lambda x: x / 8)))
def test_encoding_inverts_decoding(proposals, offsets):
    moved = decode_ends(proposals, offsets)
    assume(bool(np.all(moved[:, 1] - moved[:, 0] >= 0)))
    np.testing.assert_allclose(encode_center(proposals, decode_center(proposals, offsets)), offsets, atol=2e-3)
    np.testing.assert_allclose(encode_ends(proposals, moved), offsets, atol=2e-3)


@given(proper_segments(1), st.tuples(*[st.integers(-16, 16).map(lambda x: x / 8)] * 2))
def test_decoding_is_equations_13_to_15(proposals, offsets):
    offset, none, limit = np.array([offsets], np.float32), np.zeros(2), 1e6
    proposal = proposals[0].astype(float)
    by_ends = refine(proposal, offsets, none, limit, tau=1.0)
    by_center = refine(proposal, none, offsets, limit, tau=0.0)
    # The reference clamps to [0, limit], which is no part of the codings.
    found = np.clip(decode_ends(proposals, offset)[0], 0, limit)
    np.testing.assert_allclose(found, by_ends, rtol=1e-5, atol=1e-3)
    found = np.clip(decode_center(proposals, offset)[0], 0, limit)
    np.testing.assert_allclose(found, by_center, rtol=1e-5, atol=1e-3)


def test_codings_of_empty_proposals_are_finite():
    empty = np.array([[3, 3], [5, 2]], np.float32)
    target = np.array([[1, 4], [6, 6]], np.float32)
    for encode in (encode_center, encode_ends):
        assert np.isfinite(np.asarray(encode(empty, target))).all()


strides = st.lists(st.floats(1 / 64, 60, width=32), min_size=2, max_size=2).map(lambda x: np.array(x, np.float32))


@given(hnp.arrays(np.float32, (2, P, 2), elements=eighths), strides)
def test_units_go_to_seconds_and_back(x, stride):
    seconds = np.asarray(geometry.to_seconds(x, stride))
    for b in range(2):
        np.testing.assert_allclose(seconds[b], x[b] * stride[b], rtol=1e-6)
    np.testing.assert_allclose(geometry.to_snippets(seconds, stride), x, rtol=1e-6)
    np.testing.assert_allclose(geometry.to_seconds(x[:, 0, 0], stride), seconds[:, 0, 0], rtol=1e-6)
