"""Clips of a video against a plain loop over all of its images, whatever the chunks."""

from fractions import Fraction

import numpy as np
import pytest
from support import videos

from tal_jax.video.clips import Sampling, chunks
from tal_jax.video.decode import Video
from tal_jax.video.pixels import Rgb
from tal_jax.video.preprocessing import Preprocessing

pytest.importorskip("av")
KEEP = Preprocessing(
    side=videos.ROWS, short_side=None, size=(videos.ROWS, videos.COLUMNS), mean=(0, 0, 0), std=(1, 1, 1)
)


class Keep(Preprocessing):
    """Images as they are, so that their numbers can be read; counts what is converted."""

    converted = 0

    def on_host(self, image):
        type(self).converted += 1
        return image[None]


def plain(points, sampling):
    """Numbers of the images of each clip: middle in the middle of its snippet, ends repeated."""
    rows = []
    i = 0
    while True:
        middle = (i + 0.5) * sampling.stride
        if middle >= points and i:
            return rows
        start = int(np.floor(middle - sampling.images * sampling.interval / 2))
        rows.append([min(max(start + j * sampling.interval, 0), points - 1) for j in range(sampling.images)])
        i += 1


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return videos.write(
        tmp_path_factory.mktemp("videos") / "v.mkv", videos.regular(61), codec="mjpeg", pixels="yuvj420p"
    )


@pytest.mark.parametrize("clips", [1, 3, 100])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(images=1, stride=1),
        Sampling(images=1, stride=16),
        Sampling(images=8, stride=4),
        Sampling(images=7, stride=8),
        Sampling(images=16, stride=16, interval=4),
        Sampling(images=4, stride=3, interval=2),
        Sampling(images=2, stride=40, interval=3),
        Sampling(images=3, stride=200),
    ],
)
def test_every_clip_holds_its_images(path, sampling, clips):
    Keep.converted = 0
    family = Keep(**{f: getattr(KEEP, f) for f in ("side", "short_side", "size", "mean", "std")})
    video = Video(str(path))
    rows, lasts = [], []
    for chunk in chunks(video, sampling, Rgb(family), Fraction(30), clips):
        assert chunk.first == len(rows)
        assert len(chunk.images) <= max(sampling.distinct(clips), 1)
        assert len(chunk.index) <= clips
        numbers = np.array([videos.number(image) for image in chunk.images[:, 0]])
        assert len(set(numbers)) == len(numbers)
        rows += numbers[chunk.index].tolist()
        lasts.append(chunk.last)
    expected = plain(61, sampling)
    assert rows == expected
    assert sampling.count(61) == len(expected)
    assert lasts == [False] * (len(lasts) - 1) + [True]
    needed = {n for row in expected for n in row}
    assert Keep.converted <= len(needed) + 1 + sampling.images  # clips are begun that turn out not to be


def test_slow_videos_repeat_their_images(path):
    """At 90 points a second each image serves three, and is converted once."""
    Keep.converted = 0
    family = Keep(**{f: getattr(KEEP, f) for f in ("side", "short_side", "size", "mean", "std")})
    found = list(chunks(Video(str(path)), Sampling(images=1, stride=1), Rgb(family), Fraction(90), 1000))
    numbers = [videos.number(image) for chunk in found for image in chunk.images[:, 0]]
    assert len(numbers) == 183
    assert numbers[:6] == [0, 0, 1, 1, 1, 2]  # the nearest; of two the later one
    assert Keep.converted == 61
