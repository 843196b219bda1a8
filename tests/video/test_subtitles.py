"""Subtitles against the text of both formats, by hand, and against a reader that nobody here wrote."""

import io

import pytest

from tal_jax.errors import InputError
from tal_jax.video import subtitles

FOUND = [(3661.0005, 3670.25, "b", 0.5), (0.0, 1.9996, "jump & <run> --> far", 0.875)]
WEB = """WEBVTT

00:00:00.000 --> 00:00:02.000
jump &amp; &lt;run&gt; --&gt; far 0.88

01:01:01.000 --> 01:01:10.250
b 0.50
"""
SUBRIP = """1
00:00:00,000 --> 00:00:02,000
jump & <run> -> far 0.88

2
01:01:01,000 --> 01:01:10,250
b 0.50
"""


def test_by_hand(tmp_path):
    subtitles.write(tmp_path / "x.vtt", FOUND)
    assert (tmp_path / "x.vtt").read_text() == WEB
    subtitles.write(tmp_path / "x.srt", FOUND)
    assert (tmp_path / "x.srt").read_text() == SUBRIP
    assert subtitles.text([], web=True) == "WEBVTT\n"


@pytest.mark.parametrize("web", [True, False])
def test_a_library_reads_them(web):
    webvtt = pytest.importorskip("webvtt")
    content = io.StringIO(subtitles.text(FOUND, web=web))
    found = webvtt.from_buffer(content, format="vtt" if web else "srt")
    assert [(c.start, c.end) for c in found] == [("00:00:00.000", "00:00:02.000"), ("01:01:01.000", "01:01:10.250")]
    assert found[1].text == "b 0.50"


def test_another_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"subtitles end in \.vtt or \.srt"):
        subtitles.write(tmp_path / "x.ass", FOUND)
