"""Windows read the rows they need and no more, and see what the whole recording shows there."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tal_jax import windows
from tal_jax.windows import Framing, Normalization, WindowDetections, concatenated, read_window, resample


@given(
    st.integers(1, 40),
    st.integers(0, 39),
    st.sampled_from([0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 3.7]),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.25]),
)
@example(10, 0, 0.3, 9, 0.0)  # the last centre lies past the middle of its row, and the window ends there
def test_a_window_shows_what_resampling_the_whole_shows(total, offset, scale, count, part):
    offset = min(offset, total - 1) + part
    rng = np.random.default_rng(total)
    streams = [rng.normal(size=(total + more, width)) for more, width in ((0, 2), (3, 1))]
    normalization = Normalization(np.array([1, 2, 3], np.float32), np.array([2, 1, 4], np.float32))
    whole = np.concatenate([x[:total] for x in streams], axis=1).astype(np.float32)
    expected = resample(normalization(whole), offset, scale, count)
    found = read_window(streams, offset, scale, count, normalization)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mode", "scale"), [("window", 4.0), ("resize", 5.0)])
def test_the_scale_of_a_frame(mode, scale):
    assert Framing(mode, 20, scale=4.0).scale_of(100) == scale


def test_the_best_of_every_class_is_among_those_that_are_merged(monkeypatch):
    """Three windows of three classes: the third class's probabilities are the lowest everywhere."""
    monkeypatch.setattr(windows, "MERGE_CANDIDATES", 4)
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.7, 0.2], [0.85, 0.6, 0.15]], np.float32)
    one = [WindowDetections(np.tile([[0.0, 1.0]], (3, 1)), np.arange(3), row, np.ones(3, bool)) for row in scores]
    found = concatenated(one)
    assert found.mask.all()
    assert found.labels.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(found.scores, np.float32([0.9, 0.7, 0.2, 0.85]))
    monkeypatch.setattr(windows, "MERGE_CANDIDATES", 2)  # fewer than there are classes
    assert concatenated(one).labels.tolist() == [0, 1]
