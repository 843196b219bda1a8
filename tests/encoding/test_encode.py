"""Videos to features by a small network: every snippet against a plain loop, resumption, faults that end one video."""

import dataclasses
import io
import json
import os
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import videos
from support.small_encoder import FAMILY, Small, known

from tal_jax.data import provenance
from tal_jax.encoding import encode, plan
from tal_jax.errors import InputError
from tal_jax.video.clips import Sampling
from tal_jax.video.decode import Video
from tal_jax.video.grid import on_grid

pytest.importorskip("av")


@pytest.fixture(autouse=True)
def small():
    with known():
        yield


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "videos"
    made.mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("a.mp4", 47), ("b.mkv", 5), ("c.webm", 90), ("ü 4.avi", 2)):
        start = int(rng.integers(300))
        codec = {"webm": "libvpx-vp9", "avi": "mjpeg"}.get(name.split(".")[1], "libx264")
        videos.write(
            made / name, videos.regular(count), codec=codec, pixels="yuvj420p" if codec == "mjpeg" else "yuv420p",
            draw=lambda k, start=start: videos.numbered(start + k),
        )  # fmt: skip
    return made


def options(folder, out, **kwargs):
    return plan.Options(videos=str(folder), out=str(out), encoder="small", weights="random", **kwargs)


def expected(path, sampling, rate, family=FAMILY):
    """One clip at a time, and all images of the video in memory."""
    kernel = Small().init(jax.random.key(0), jnp.zeros((1, 4, 32, 32, 3)))["params"]["kernel"]
    video = Video(str(path))
    images = [image.rgb() for _, image in on_grid(video, video.shown(), Fraction(rate), sampling.phase)]
    rows = []
    for i in range(sampling.count(len(images))):
        clip = [family.on_host(images[min(max(p, 0), len(images) - 1)]) for p in sampling.points(i)]
        means = np.stack([np.asarray(family.on_device(x)).mean((1, 2)) for x in clip])  # [F, N, 3]
        rows.append((means * (1 + np.arange(4.0))[:, None, None]).mean((0, 1)) @ kernel)
    return np.array(rows)


@pytest.mark.parametrize("crop", ["centre", "ten"])
@pytest.mark.parametrize("batch_size", [0, 1, 3])
def test_features_are_those_of_a_plain_loop(folder, tmp_path, crop, batch_size):
    out = tmp_path / "out"
    said = encode.encode(options(folder, out, rate=20, stride=3, interval=2, crop=crop, batch_size=batch_size))
    assert "features of 4 videos" in said
    sampling, family = Sampling(4, 3, 2), dataclasses.replace(FAMILY, crop=crop)
    found = provenance.read(out)
    assert {id: v.snippets for id, v in found.videos.items()} == {"a": 11, "b": 1, "c": 20, "ü 4": 1}
    for id, video in found.videos.items():
        features = np.load(out / f"{id}.npy")
        np.testing.assert_allclose(
            features, expected(folder / video.details["file"], sampling, 20, family), rtol=2e-4, atol=2e-5
        )
        assert video.stride == pytest.approx(3 / 20)
    assert sorted(p.name for p in out.iterdir()) == ["a.npy", "b.npy", "c.npy", "encoder.json", "ü 4.npy"]


def test_the_own_rate_of_a_video(folder, tmp_path):
    encode.encode(options(folder, tmp_path / "out"))
    found = provenance.read(tmp_path / "out")
    assert found.videos["a"].stride == pytest.approx(4 / 30)
    assert found.identity["rate"] == "of the video"
    np.testing.assert_allclose(
        np.load(tmp_path / "out" / "a.npy"), expected(folder / "a.mp4", Sampling(4, 4), 30), rtol=2e-4, atol=2e-5
    )


def test_images_that_are_counted(folder, tmp_path):
    """A video whose rate varies is other features by index than by time stamps, and says so."""
    times = [k / 30 + (0.4 if k > 20 else 0.0) for k in range(60)]
    videos.write(folder / "a.mp4", times, codec="libx264")
    found = {}
    for name in ("stamps", "index"):
        encode.encode(options(folder, tmp_path / name, rate=10.0, times=name))
        found[name] = provenance.read(tmp_path / name)
    assert "times" not in found["stamps"].identity
    assert found["index"].identity["times"] == "index"
    assert found["index"].videos["a"].seconds < found["stamps"].videos["a"].seconds + 1e-6
    one, two = (np.load(tmp_path / name / "a.npy") for name in found)
    assert one.shape != two.shape or np.abs(one - two).max() > 1e-3
    with pytest.raises(InputError, match=r"another kind \(times of images by index, not stamps\)"):
        encode.encode(options(folder, tmp_path / "index", rate=10.0))


def test_what_is_there_is_left_and_what_is_missing_made(folder, tmp_path):
    out = tmp_path / "out"
    encode.encode(options(folder, out))
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    (out / "c.npy").unlink()
    os.utime(out / "a.npy", ns=(5, 5))
    said = encode.encode(options(folder, out))
    assert "3 of them from before" in said
    assert (out / "a.npy").stat().st_mtime_ns == 5  # not written again
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def cut_short(data):
    return data[:-5]


def longer(data):
    return data + b"\0" * 4


def of_another_shape(data):
    kept = io.BytesIO()
    np.save(kept, np.load(io.BytesIO(data))[1:])
    return kept.getvalue()


def one_bit(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("harm", [cut_short, longer, of_another_shape, one_bit, lambda data: b"", lambda data: b"text"])
def test_features_that_were_harmed_are_made_again(folder, tmp_path, capsys, harm):
    out = tmp_path / "out"
    encode.encode(options(folder, out))
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    (out / "a.npy").write_bytes(harm(before["a.npy"]))
    assert "3 of them from before" in encode.encode(options(folder, out))
    assert "a.npy: no longer as it was written: a.mp4 is encoded again" in "".join(capsys.readouterr())
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_features_without_sums_are_known_by_their_size(folder, tmp_path):
    """Those of before sums were noted."""
    out = tmp_path / "out"
    encode.encode(options(folder, out))
    text = json.loads((out / provenance.NAME).read_text())
    for row in text["videos"].values():
        del row["crc32c"]
    (out / provenance.NAME).write_text(json.dumps(text))
    (out / "c.npy").write_bytes(cut_short((out / "c.npy").read_bytes()))
    assert "3 of them from before" in encode.encode(options(folder, out))


def test_a_run_that_was_killed_goes_on(folder, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    encode.encode(options(folder, whole))

    class Killed(BaseException):
        pass

    add, count = encode.Journal.add, []

    def die(self, id, row):
        add(self, id, row)
        count.append(id)
        if len(count) == 2:
            raise Killed

    monkeypatch.setattr(encode.Journal, "add", die)
    with pytest.raises(Killed):
        encode.encode(options(folder, cut))
    monkeypatch.undo()
    journal = cut / "encoder.journal0"
    journal.write_bytes(journal.read_bytes()[:-7])  # of the last line a part
    assert "1 of them from before" in encode.encode(options(folder, cut))
    assert {p.name: p.read_bytes() for p in cut.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}


def test_one_that_fails_does_not_end_the_others(folder, tmp_path, capsys):
    (folder / "bad.mp4").write_bytes(b"nothing of a video")
    videos.picture(folder / "picture.gif")
    (folder / "b.webm").write_bytes((folder / "c.webm").read_bytes())
    with pytest.raises(InputError, match=r"out: 3 of 6 videos have no features, see above"):
        encode.encode(options(folder, tmp_path / "out"))
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert any("bad.mp4: no video that can be read" in line for line in lines)
    assert any("picture.gif: only one image of it can be decoded" in line for line in lines)
    assert any("record b: it has b.mkv and b.webm: keep one of them" in line for line in lines)
    assert set(provenance.read(tmp_path / "out").videos) == {"a", "c", "ü 4"}


def test_features_of_another_kind_are_not_mixed(folder, tmp_path):
    encode.encode(options(folder, tmp_path / "out"))
    with pytest.raises(InputError, match=r"another kind \(images a second of the video, not 10.0\)"):
        encode.encode(options(folder, tmp_path / "out", rate=10.0))
    with pytest.raises(InputError, match="clip to clip 4, not 2"):
        encode.encode(options(folder, tmp_path / "out", stride=2))


def test_nothing_is_left_where_nothing_could_be_written(folder, tmp_path, monkeypatch, capsys):
    def full(self, rows):
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(encode.FeatureFile, "append", full)
    with pytest.raises(InputError, match="4 of 4 videos"):
        encode.encode(options(folder, tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []
    assert "cannot be written (No space left on device)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": ""}, "--encoder or --recipe is missing"),
        ({"weights": ""}, "weights of small are published at nowhere"),
        ({"encoder": "smal"}, "did you mean 'small'"),
        ({"recipe": "lite0_10"}, "lite0_10hz"),
        ({"recipe": "lite0_10hz"}, "is for efficientnet_lite0, not --encoder=small"),
        ({"videos": "no/such"}, "No such file or directory"),
    ],
)
def test_bad_options_are_one_line(folder, tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        encode.encode(dataclasses.replace(options(folder, tmp_path / "out"), **changes))


def test_random_weights_are_marked(folder, tmp_path):
    encode.encode(options(folder, tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "encoder.json").read_text())["features"]["weights"] == "random"
    assert provenance.read(tmp_path / "out").random
