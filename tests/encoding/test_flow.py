"""Flow of videos on the way into encoders: which fields a clip holds, two folders of one command, what is refused."""

import itertools
import json
from fractions import Fraction

import jax
import numpy as np
import pytest
from support import videos
from support.small_encoder import FLOW, known

from tal_jax.data import provenance
from tal_jax.data.images import _encoded
from tal_jax.encoding import encode, plan
from tal_jax.errors import InputError
from tal_jax.video import pixels
from tal_jax.video.clips import Sampling
from tal_jax.video.decode import Video
from tal_jax.video.flow import grey, stored
from tal_jax.video.preprocessing import resize

pytest.importorskip("av")


@pytest.fixture(autouse=True)
def encoders():
    with known():
        yield


def differences(pairs, method, bound=20.0):
    """In place of TV-L1: tells which images a field is of, and in which order."""
    return [np.stack([b // 2 - a // 2 + 128, a], axis=-1).astype(np.uint8) for a, b in pairs]


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(pixels, "fields_of", differences)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "videos"
    made.mkdir()
    for name, count, start in (("a.mp4", 47, 3), ("b.mkv", 5, 100), ("c.mp4", 2, 300)):
        videos.write(
            made / name, videos.regular(count), codec="libx264", draw=lambda k, start=start: videos.numbered(start + k)
        )
    return made


def options(folder, out, **fields):
    return plan.Options(videos=str(folder), out=str(out), weights="random", **{"encoder": "learner_flow", **fields})


def expected(path, sampling):
    """All fields of a video in memory, one clip at a time."""
    images = [grey(resize(image.rgb(), FLOW.preprocessing.resized_shape(*image.shape), "bilinear"))
              for image in Video(str(path)).shown()]  # fmt: skip
    fields = differences(list(itertools.pairwise(images)), "")
    side = FLOW.side
    network = FLOW.network(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), np.zeros((1, 3, side, side, 4), np.float32))
    rows = []
    for i in range(sampling.count(len(images))):
        first = i * sampling.stride + (sampling.stride - 3 * sampling.interval) // 2 + (sampling.interval - 2) // 2
        clip = []
        for j in range(3):
            pair = []
            for k in range(2):
                point = min(max(first + j * sampling.interval + k, 0), len(fields) - 1)
                row, column = ((n - side) // 2 for n in fields[0].shape[:2])
                field = fields[point][row : row + side, column : column + side]
                pair.append((field / np.float32(255) - np.float32(0.5)) / np.float32(0.2))
            clip.append(np.concatenate(pair, axis=-1))
        rows.append(np.asarray(network.apply(variables, np.stack(clip)[None].astype(np.float32)))[0])
    return np.stack(rows)


@pytest.mark.parametrize(("stride", "interval"), [(3, 1), (2, 4), (20, 2)])
def test_features_are_those_of_a_plain_loop(folder, tmp_path, cheap, stride, interval):
    encode.encode(options(folder, tmp_path / "out", stride=stride, interval=interval))
    for name in ("a.mp4", "b.mkv", "c.mp4"):
        found = np.load(tmp_path / "out" / f"{name[0]}.npy")
        made = expected(folder / name, Sampling(3, stride, interval, stack=2))
        np.testing.assert_allclose(found, made, rtol=2e-4, atol=2e-5)


def test_no_field_is_computed_twice(folder, tmp_path, monkeypatch):
    computed = []

    def counting(pairs, method, bound=20.0):
        computed.extend(pairs)
        return differences(pairs, method)

    monkeypatch.setattr(pixels, "fields_of", counting)
    encode.encode(options(folder, tmp_path / "out", stride=1, interval=2))
    assert len(computed) == 46 + 4 + 1


def test_both_streams_by_one_command(folder, tmp_path, cheap):
    given = options(folder, tmp_path / "out", encoder="learner", flow=True, flow_weights="random", stride=4)
    encode.encode(given)
    rgb, flow = (provenance.read(tmp_path / "out" / name) for name in ("rgb", "flow"))
    assert (rgb.identity["encoder"], flow.identity["encoder"]) == ("learner", "learner_flow")
    assert flow.identity["flow"] == "tv-l1 denseflow, +-20"
    assert "flow" not in rgb.identity
    for id in ("a", "b", "c"):
        assert rgb.videos[id].snippets == flow.videos[id].snippets
        assert rgb.videos[id].stride == flow.videos[id].stride
    before = (tmp_path / "out" / "flow" / "a.npy").stat().st_mtime_ns
    assert "3 of them from before" in encode.encode(given)
    assert (tmp_path / "out" / "flow" / "a.npy").stat().st_mtime_ns == before


def test_flow_of_another_method_is_another_feature(folder, tmp_path, cheap):
    encode.encode(options(folder, tmp_path / "out"))
    with pytest.raises(InputError, match=r"optical flow by tv-l1 denseflow, \+-20, not tv-l1 opencv"):
        encode.encode(options(folder, tmp_path / "out", flow_method="opencv"))


def test_what_is_missing_is_told_before_work(folder, tmp_path):
    with pytest.raises(InputError, match=r"--flow: there is no small_flow"):
        encode.encode(options(folder, tmp_path / "out", encoder="small", flow=True))
    with pytest.raises(InputError, match=r"--flow_weights is missing: weights of learner_flow"):
        encode.encode(options(folder, tmp_path / "out", encoder="learner", flow=True))
    assert not (tmp_path / "out").exists()


def test_real_flow_moves_with_the_picture(folder, tmp_path):
    """A texture that moves to the right by two pixels an image: x is about 128 + 2 * 255 / 40, y about 128."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(40, 220, (12, 40)), np.ones((8, 8)))
    smooth = (texture + np.roll(texture, 1, 0) + np.roll(texture, 1, 1) + np.roll(texture, (2, 2), (0, 1))) / 4
    images = [np.repeat(np.roll(smooth, 2 * k, axis=1)[:64, :96, None], 3, axis=2).astype(np.uint8) for k in range(3)]
    pairs = [(grey(images[0]), grey(images[1])), (grey(images[1]), grey(images[2]))]
    for field in pixels.fields_of(pairs, "opencv"):
        middle = field[16:-16, 16:-16].astype(float)
        assert abs(np.median(middle[..., 0]) - (127.5 + 2 * 255 / 40)) < 2
        assert abs(np.median(middle[..., 1]) - 128) < 2
    still = pixels.fields_of([(pairs[0][0], pairs[0][0])], "opencv")[0]
    assert (still == 128).all()


def test_mirrored_crops_turn_x_around():
    field = np.zeros((6, 8, 2), np.uint8)
    field[..., 0], field[..., 1] = 100, 7
    assert pixels._crop(field, 6, (1, 1, True))[0, 0].tolist() == [155, 7]
    assert pixels._crop(field, 6, (1, 1, False))[0, 0].tolist() == [100, 7]


def test_an_encoder_of_flow_is_described(folder, tmp_path, cheap):
    encode.encode(options(folder, tmp_path / "out"))
    values = json.loads((tmp_path / "out" / "encoder.json").read_text())
    assert values["features"]["flow"] == "tv-l1 denseflow, +-20"
    assert values["features"]["preprocessing"]["mean"] == [0.5, 0.5]


def store(place, count, shape=(48, 64)):
    """Fields whose x says which one it is, as denseflow stores them."""
    place.mkdir(parents=True)
    for n in range(count):
        for axis, value in (("x", 40 + 2 * n), ("y", 200)):
            (place / f"flow_{axis}_{n:05d}.jpg").write_bytes(_encoded(np.full(shape, value, np.uint8), 95))


def test_stored_fields_are_those_of_their_times(folder, tmp_path):
    store(tmp_path / "flow" / "a", 46)
    store(tmp_path / "flow" / "b", 4)
    store(tmp_path / "flow" / "c", 1)
    video = Video(str(folder / "a.mp4"))
    fields = stored(tmp_path / "flow" / "a")
    points = list(pixels.stored_on_grid(video, fields, Fraction(30), Fraction(10), Fraction(0)))
    # Point k lies at k / 10 s, where field 3 k begins; there are points as long as the video lasts.
    assert [k for k, _ in points] == list(range(16))
    assert [abs(int(field[0, 0, 0]) - (40 + 2 * min(3 * k, 45))) <= 1 for k, field in points] == [True] * 16
    assert video.seconds == Fraction(47, 30)
    encode.encode(options(folder, tmp_path / "out", flow_images=str(tmp_path / "flow")))
    assert provenance.read(tmp_path / "out").identity["flow"] == "stored images"
    assert len(np.load(tmp_path / "out" / "a.npy")) == Sampling(3, 3, 1, stack=2).count(47)


def test_a_video_without_stored_fields(folder, tmp_path, capfd):
    store(tmp_path / "flow" / "a", 46)
    with pytest.raises(InputError, match="2 of 3 videos have no features"):
        encode.encode(options(folder, tmp_path / "out", flow_images=str(tmp_path / "flow")))
    told = "".join(capfd.readouterr())
    assert f"{tmp_path / 'flow' / 'b'}: No such file or directory: give the folder that denseflow wrote" in told
    with pytest.raises(InputError, match="sees images: give an encoder of flow"):
        encode.encode(options(folder, tmp_path / "out", encoder="learner", flow_images=str(tmp_path / "flow")))
