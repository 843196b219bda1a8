"""Every image once, in order, at its own time, whatever the container says; damage is told."""

from fractions import Fraction

import numpy as np
import pytest
from support import videos

from tal_jax.errors import InputError
from tal_jax.video.decode import Video
from tal_jax.video.grid import on_grid

pytest.importorskip("av")
COUNT = 40
H264 = {"codec": "libx264", "options": {"bf": "2", "g": "12"}}


def decoded(path, **kwargs):
    video = Video(str(path))
    found = [(videos.number(i.rgb()), float(i.time)) for i in video.shown(**kwargs)]
    return video, [n for n, _ in found], [t for _, t in found]


VARYING = list(np.cumsum([0.0] + [1 / 30 if k % 3 else 1 / 10 for k in range(COUNT - 1)]))


@pytest.mark.parametrize(
    ("name", "times", "how"),
    [
        ("b_frames.mp4", videos.regular(COUNT), H264),
        ("varying.mp4", VARYING, H264),
        ("plain.mkv", videos.regular(COUNT), H264),
        ("vp9.webm", videos.regular(COUNT), {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}),
        ("stream.ts", videos.regular(COUNT), H264),
        ("fragmented.mp4", videos.regular(COUNT), {**H264, "container": {"movflags": "frag_keyframe+empty_moov"}}),
        ("late.mp4", videos.regular(COUNT, start=1.4), H264),
        ("late.mkv", videos.regular(COUNT, start=1.4), H264),
        ("hevc.mp4", videos.regular(COUNT), {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
        ("ten_bit.mp4", videos.regular(COUNT), {**H264, "pixels": "yuv420p10le"}),
        ("grey.mp4", videos.regular(COUNT), {**H264, "pixels": "gray"}),
        ("mpeg2.mpg", videos.regular(COUNT), {"codec": "mpeg2video", "format": "mpeg", "clock": 30}),
        ("motion.avi", videos.regular(COUNT), {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("with_sound.mp4", videos.regular(COUNT), {**H264, "sound": True}),
    ],
)
def test_every_image_once_at_its_time(tmp_path, name, times, how):
    video, numbers, found = decoded(videos.write(tmp_path / name, times, **how), strict=True)
    assert numbers == list(range(COUNT))
    np.testing.assert_allclose(found, np.array(times) - times[0], atol=2e-3)  # time bases of 1 ms in mkv and webm
    assert (video.images, video.notes) == (COUNT, [])
    assert float(video.seconds) == pytest.approx(times[-1] - times[0] + 1 / 30, abs=0.04)


def test_odd_sizes(tmp_path):
    draw = lambda k: videos.numbered(k, 51, videos.COLUMNS + 1)  # noqa: E731
    path = videos.write(tmp_path / "odd.mkv", videos.regular(5), codec="ffv1", pixels="yuv444p", draw=draw)
    images = [i.rgb() for i in Video(str(path)).shown()]
    assert {i.shape for i in images} == {(51, videos.COLUMNS + 1, 3)}
    assert [videos.number(i) for i in images] == list(range(5))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_phones_turn_their_videos(tmp_path, degrees):
    """The file holds images as the sensor lay; upright they are what was drawn."""
    upright = [videos.numbered(k, 64, videos.COLUMNS) for k in range(3)]
    lying = [np.ascontiguousarray(np.rot90(x, -degrees // 90)) for x in upright]
    path = videos.write(tmp_path / "lying.mp4", videos.regular(3), draw=lambda k: lying[k], codec="libx264")
    turned = videos.with_rotation(path, degrees)
    images = [i.rgb() for i in Video(str(turned)).shown()]
    for image, expected in zip(images, upright, strict=True):
        assert image.shape == expected.shape
        assert np.abs(image.astype(float) - expected).mean() < 12


def test_a_truncated_video_gives_what_there_is(tmp_path):
    # The index stands first, as in downloads that broke off.
    whole = videos.write(tmp_path / "whole.mp4", videos.regular(200), **H264, container={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    video, numbers, _ = decoded(cut)
    assert 50 < len(numbers) < 170
    assert numbers == list(range(len(numbers)))
    assert len(video.notes) == 1
    with pytest.raises(InputError, match=r"cut\.mp4: .*: copy it again, or do without --strict"):
        decoded(cut, strict=True)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("whole.mp4", {"codec": "mjpeg", "pixels": "yuvj420p", "container": {"movflags": "faststart"}}),
        ("whole.mkv", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("late.mkv", {"codec": "mjpeg", "pixels": "yuvj420p", "start": 30.0}),
        ("sound.mkv", {"codec": "mjpeg", "pixels": "yuvj420p", "sound": True}),
        ("whole.webm", {"codec": "libvpx", "options": {"deadline": "realtime"}}),
        ("whole.flv", {"codec": "flv"}),
        ("whole.mxf", {"codec": "mpeg2video", "clock": 30, "options": {"g": "1", "bf": "0"}}),
    ],
)
def test_a_video_cut_between_two_images_is_told(tmp_path, name, how):
    """No decoder sees anything wrong: only the header says that more was there."""
    start = how.get("start", 0.0)
    how = {key: value for key, value in how.items() if key != "start"}
    whole = videos.write(tmp_path / name, videos.regular(200, start=start), **how)
    assert decoded(whole)[0].notes == []
    import av

    with av.open(str(whole)) as file:
        packets = [p.pos for p in file.demux(video=0) if p.size]
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(whole.read_bytes()[: packets[100]])
    video, numbers, _ = decoded(cut)
    assert numbers[:90] == list(range(90))
    assert len(numbers) <= 101
    ends = [note for note in video.notes if "where its header says" in note]
    assert len(ends) == 1
    said = float(ends[0].split()[-2])
    assert said == pytest.approx(200 / 30, abs=0.05)
    with pytest.raises(InputError, match="copy it again, or do without --strict"):
        decoded(cut, strict=True)


def test_a_damaged_video_is_told(tmp_path):
    data = bytearray(videos.write(tmp_path / "whole.mkv", videos.regular(120), **H264).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = b"\x55" * 300
    (tmp_path / "damaged.mkv").write_bytes(data)
    video, numbers, times = decoded(tmp_path / "damaged.mkv")
    assert len(numbers) >= 30
    assert times == sorted(times)
    assert video.notes


ONE_IMAGE = r"only one image of it can be decoded, which has no duration: \w"


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("nothing.mp4", lambda path: path.write_bytes(b""), "no video that can be read"),
        ("text.mp4", lambda path: path.write_text("not a video\n" * 50), "no video that can be read"),
        ("list.mp4", lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"), "no video that can be read"),
        ("list.ffconcat", lambda path: path.write_text("ffconcat version 1.0\nfile whole.mp4\n"), "no video that can"),
        ("picture.png", lambda path: videos.picture(path), "no video that can be read"),
        ("picture.jpg", lambda path: videos.picture(path), "no video that can be read"),
        ("picture.webp", lambda path: videos.picture(path), "no video that can be read"),
        ("picture.apng", lambda path: videos.picture(path, format="PNG"), "no video that can be read"),
        ("picture.gif", lambda path: videos.picture(path), ONE_IMAGE),
        ("picture.avif", lambda path: videos.picture(path), ONE_IMAGE),
        ("gif.mp4", lambda path: videos.picture(path, format="GIF"), ONE_IMAGE),
        ("one_image.mp4", lambda path: videos.write(path, [0.0]), ONE_IMAGE),
        ("one_image.ts", lambda path: videos.write(path, [0.0]), ONE_IMAGE),
        ("sound.m4a", lambda path: videos.sound(path), r"holds no video stream \(but audio\)"),
        ("missing.mp4", lambda path: None, "No such file"),
    ],
)
def test_what_is_no_video_is_one_line(tmp_path, name, make, words):
    make(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: .*{words}"):
        decoded(tmp_path / name)


def test_pictures_that_move_are_a_video(tmp_path):
    video, numbers, times = decoded(videos.picture(tmp_path / "moving.gif", 3), strict=True)
    assert numbers == [5, 6, 7]
    assert times == pytest.approx([0.0, 0.1, 0.2])
    assert float(video.seconds) == pytest.approx(0.3)


def test_one_image_before_damage_is_refused_with_the_damage(tmp_path):
    """As a picture would be: of a file that broke off so early no time can be known."""
    import av

    whole = videos.write(tmp_path / "whole.mp4", videos.regular(20), codec="mjpeg", pixels="yuvj420p",
                         container={"movflags": "faststart"})  # fmt: skip
    with av.open(str(whole)) as file:
        packets = [(p.pos, p.size) for p in file.demux(video=0) if p.size]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: sum(packets[0])])
    with pytest.raises(
        InputError, match=r"cut\.mp4: only one image of it can be decoded \(.+\), which has no duration: \w"
    ):
        decoded(cut)


def test_times_without_a_float(tmp_path):
    """At 30000/1001 a second, image 29,970 would stand at 1,000 s to the last digit."""
    times = [k * 1001 / 30000 for k in range(10)]
    path = videos.write(tmp_path / "ntsc.mp4", times, **H264)
    exact = [i.time for i in Video(str(path)).shown()]
    assert all(isinstance(t, Fraction) for t in exact)


def grid(path, rate, phase):
    video = Video(str(path))
    return [videos.number(image.rgb()) for _, image in on_grid(video, video.shown(), Fraction(rate), Fraction(phase))]


@pytest.mark.parametrize("rate", [7, 10, 15, 30, 45])
@pytest.mark.parametrize("phase", [Fraction(0), Fraction(1, 2)])
def test_a_grid_takes_the_nearest_image(tmp_path, rate, phase):
    path = videos.write(tmp_path / "varying.mp4", VARYING, **H264)
    shown = np.array([round(t * 3000) for t in VARYING]) / 3000
    seconds = float(Video(str(path)).seconds)
    video = Video(str(path))
    list(video.shown())
    seconds = float(video.seconds)
    expected = []
    for k in range(10_000):
        at = (k + float(phase)) / rate
        if at >= seconds - 1e-9:
            break
        apart = np.abs(shown - at)
        expected.append(int(np.flatnonzero(apart <= apart.min() + 1e-9)[-1]))  # the later one of two
    assert grid(path, rate, phase) == expected


def test_the_own_rate_gives_every_image_once(tmp_path):
    path = videos.write(tmp_path / "plain.mp4", videos.regular(COUNT), **H264)
    assert grid(path, 30, 0) == list(range(COUNT))


@pytest.mark.parametrize("rate", [7, 10, 30])
def test_by_index_as_most_extractors_count(tmp_path, rate):
    """Image n stands at n / mean rate, whatever its time stamp is."""
    import av

    path = videos.write(tmp_path / "varying.mp4", VARYING, **H264)
    with av.open(str(path)) as file:
        mean = file.streams.video[0].average_rate
    video = Video(str(path), "index")
    found = [videos.number(image.rgb()) for _, image in on_grid(video, video.shown(), Fraction(rate), Fraction(1, 2))]
    times = [n / mean for n in range(COUNT)]
    points = [(k + Fraction(1, 2)) / rate for k in range(1000) if (k + Fraction(1, 2)) / rate < COUNT / mean]
    assert found == [max(range(COUNT), key=lambda n, at=at: (-abs(times[n] - at), n)) for at in points]
    assert found != grid(path, rate, Fraction(1, 2))  # by time stamps
    assert video.seconds == COUNT / mean
