"""What is said of a video, and of the files to show it in, before anything is detected."""

import pytest

from tal_jax.deploy.detect_videos import detect_in_videos
from tal_jax.errors import InputError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"subtitled": "x.ass"}, r"--subtitles=x\.ass"),
        ({"annotated": "x.avi"}, r"--annotated=x\.avi: the video is written as \.mp4"),
    ],
)
def test_formats_are_looked_at_before_any_work(tmp_path, given, words):
    """Before the model is even read, of which there is none here."""
    (tmp_path / "v.mp4").touch()
    with pytest.raises(InputError, match=words):
        detect_in_videos(tmp_path / "no model", str(tmp_path / "v.mp4"), **given)


def test_the_flag_of_a_missing_video_is_the_one_that_was_given(tmp_path):
    with pytest.raises(InputError, match=r"^--video=.*nope\.mp4: No such file"):
        detect_in_videos(tmp_path / "no model", str(tmp_path / "nope.mp4"))
