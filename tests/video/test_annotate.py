"""Labels are in the images of their segments, and nowhere else; images and times stay."""

import numpy as np
import pytest
from support import videos

from tal_jax.errors import InputError
from tal_jax.video import annotate
from tal_jax.video.decode import Video

pytest.importorskip("av")
SHOWN = [(0.2, 0.5, "jump", 0.9), (0.4, 0.9, "run", 0.4)]


def test_labels_stand_in_the_images_of_their_segments(tmp_path):
    times = [0.0, 0.05, 0.1, 0.25, 0.3, 0.45, 0.6, 0.95, 1.0]
    draw = lambda k: np.full((120, 200, 3), 120, np.uint8)  # noqa: E731
    source = videos.write(tmp_path / "v.mp4", times, codec="libx264", draw=draw)
    annotate.write(source, tmp_path / "a.mp4", SHOWN)
    found = [(float(i.time), i.rgb()) for i in Video(str(tmp_path / "a.mp4")).shown(strict=True)]
    np.testing.assert_allclose([t for t, _ in found], times, atol=1e-3)
    dark = [int((image[60:].min(axis=2) < 60).sum()) for _, image in found]
    lines = [sum(start <= t < end for start, end, *_ in SHOWN) for t in times]
    assert [d > 300 for d in dark] == [n > 0 for n in lines]
    assert dark[5] > 1.5 * dark[4]  # two of them
    assert all(np.abs(image[:50].astype(int) - 120).max() < 12 for _, image in found)


def test_at_most_four_the_best_ones():
    image = np.full((200, 300, 3), 120, np.uint8)
    many = [(0.0, 1.0, f"label {i}", i / 10) for i in range(9)]
    np.testing.assert_array_equal(annotate.drawn(image, 0.5, many), annotate.drawn(image, 0.5, many[5:]))
    np.testing.assert_array_equal(annotate.drawn(image, 1.0, many), image)


def test_odd_sizes_and_other_formats(tmp_path):
    draw = lambda k: np.full((51, 63, 3), 120, np.uint8)  # noqa: E731
    source = videos.write(tmp_path / "odd.mkv", [0.0, 0.1], codec="ffv1", pixels="yuv444p", draw=draw)
    annotate.write(source, tmp_path / "a.mp4", SHOWN)
    assert next(Video(str(tmp_path / "a.mp4")).shown()).rgb().shape == (50, 62, 3)
    with pytest.raises(InputError, match=r"written as \.mp4"):
        annotate.write(source, tmp_path / "a.avi", SHOWN)
    assert {p.name for p in tmp_path.iterdir()} == {"odd.mkv", "a.mp4"}
