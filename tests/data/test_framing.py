"""Framing against plain averages and interpolation written from the definition."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tal_jax.data.dataset import Metadata
from tal_jax.data.framing import choose_framing, long_action_snippets
from tal_jax.errors import InputError
from tal_jax.windows import Framing, resample


def metadata(stride=0.1, lengths=(0.5, 0.5, 0.8, 1.0, 1.2, 1.6, 2.0, 3.2, 4.0)):
    return Metadata(("a",), {"imu": 3}, stride, {"training": 9}, lengths, {}, 4, "float32", "f")


def test_a_long_action_is_counted_in_the_usual_stride_where_each_recording_has_its_own():
    one = long_action_snippets(metadata())
    each = dataclasses.replace(metadata(stride=None), typical_stride=0.2)
    assert one == pytest.approx(4.0 / 0.1, rel=0.5)
    assert long_action_snippets(each) == pytest.approx(one / 2)
    assert long_action_snippets(metadata(stride=None)) == 0  # resized: nothing can be said


def average_loop(x, offset, scale, count):
    """The mean of the stored snippets under each frame snippet, weighted by overlap; linear if finer."""
    out = []
    for i in range(count):
        low, high = offset + i * scale, min(offset + (i + 1) * scale, len(x))
        if low >= len(x) - 1e-6:
            break
        if scale > 1:
            weights = [max(0.0, min(high, j + 1) - max(low, j)) for j in range(len(x))]
            out.append(sum(w * row for w, row in zip(weights, x, strict=True)) / sum(weights))
        else:
            centre = min(max(offset + (i + 0.5) * scale - 0.5, 0), len(x) - 1)
            j = min(int(centre), max(len(x) - 2, 0))
            out.append(x[j] * (1 - (centre - j)) + x[min(j + 1, len(x) - 1)] * (centre - j))
    return np.array(out)


@given(
    st.integers(1, 20),
    st.sampled_from([0.3, 0.5, 1.0, 1.25, 2.0, 3.7]),
    st.integers(0, 10),
    st.integers(1, 12),
    st.integers(0, 1000),
)
def test_resample_is_the_loop(length, scale, offset, count, seed):
    offset = min(offset, length - 1)
    x = np.random.default_rng(seed).normal(size=(length, 2)).astype(np.float32)
    np.testing.assert_allclose(
        resample(x, float(offset), scale, count), average_loop(x, offset, scale, count), rtol=1e-4, atol=1e-5
    )


def test_squeezing_keeps_the_mean_of_half_precision_features():
    x = np.full((1000, 1), 1000, np.float16)
    np.testing.assert_allclose(resample(x, 0.0, 2.5, 400), 1000, rtol=1e-6)


@given(st.integers(1, 500), st.integers(4, 64), st.sampled_from([1.0, 2.5]), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_windows_cover_everything_and_overlap_as_asked(total, snippets, scale, overlap):
    frame = Framing("window", snippets, scale, overlap)
    offsets = frame.offsets(total)
    span = snippets * scale
    assert offsets[0] == 0
    assert offsets[-1] + span >= total - 1  # the last one starts on a whole snippet
    if len(offsets) > 1:
        assert np.diff(offsets).max() <= span * (1 - overlap) + 1
        assert offsets[-1] + span <= total + 1e-9


def test_resize_is_one_window():
    frame = Framing("resize", 10)
    assert frame.offsets(1000).tolist() == [0]
    assert frame.native_span(1000) == 1000


@pytest.mark.parametrize(
    ("longest_snippets", "stride", "scale", "snippets"),
    [
        (140, 0.1, 1.0, 144),  # ten-second recordings, actions of 3.2 s: as fine as the data
        (36_000, 0.1, 1.0, 256),  # an hour: windows
        (450, 0.02, 5.0, 96),  # actions of 160 stored snippets: coarser, or they would not fit in 32
    ],
)
def test_lengths_come_from_the_data(longest_snippets, stride, scale, snippets):
    frame = choose_framing(
        metadata(stride), longest_snippets, mode="window", snippets=0, scale=0.0, overlap=0.5, keep=0.75,
        longest_action=32, max_snippets=256,
    )  # fmt: skip
    assert (frame.scale, frame.snippets) == (scale, snippets)
    assert math.ceil(3.2 / stride / frame.scale) <= 32


@pytest.mark.parametrize("wrong", [{"mode": "pad"}, {"overlap": 1.0}, {"mode": "resize"}])
def test_bad_fields(wrong):
    fields = {
        "mode": "window", "snippets": 0, "scale": 0.0, "overlap": 0.5, "keep": 0.75, "longest_action": 32,
        "max_snippets": 64,
    }  # fmt: skip
    with pytest.raises(InputError, match="config: data"):
        choose_framing(metadata(), 100, **{**fields, **wrong})
