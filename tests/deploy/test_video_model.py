"""From video files to detections by one folder: the same as from their features, and refused where it cannot be."""

import asyncio
import errno
import io
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from starlette.requests import Request
from support import videos
from support.commands import run, until
from support.sensor_set import tiny_config
from support.server import NPY, Server
from support.small_encoder import Small, known

from tal_jax.deploy.detect import detect
from tal_jax.deploy.detect_videos import detect_in_videos, detect_videos
from tal_jax.deploy.encoder_export import add
from tal_jax.deploy.export import export
from tal_jax.deploy.model import Model
from tal_jax.encoders.weights import Weights
from tal_jax.encoding import encode, plan
from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.serving.content_types import kind_of
from tal_jax.serving.json_bodies import Refused
from tal_jax.serving.limits import Limits
from tal_jax.serving.video_bodies import VideoBodies
from tal_jax.train.loop import train_and_evaluate
from tal_jax.video.decode import Video

pytestmark = pytest.mark.slow

pytest.importorskip("av")
RATE, STRIDE = 10, 2
COUNT = 120


def weights(path, encoder, family=None):
    variables = jax.device_get(Small().init(jax.random.key(1), jnp.zeros((1, 4, 32, 32, 3))))
    return Weights(variables, None, "5" * 64, "small")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Twelve videos with a bright action each, their features, a training and its export with the encoder."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "videos").mkdir()
    database = {}
    for i in range(12):
        begin = 20 + 5 * i % 40
        bright = lambda k, b=begin: np.full((40, 56, 3), (230, 60, 40) if b <= k < b + 40 else (30, 90, 160), np.uint8)  # noqa: E731
        videos.write(folder / "videos" / f"v{i:02d}.mp4", videos.regular(COUNT, 20.0), draw=bright, codec="libx264")
        subset = "training" if i < 8 else "validation"
        action = {"segment": [begin / 20, begin / 20 + 2], "label": "bright"}
        database[f"v{i:02d}"] = {"subset": subset, "duration": COUNT / 20, "annotations": [action]}
    (folder / "a.json").write_text(json.dumps({"database": database}))
    with known(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "read_weights", weights)
        encode.encode(
            plan.Options(
                videos=str(folder / "videos"), out=str(folder / "features"), encoder="small", weights="w.pth",
                rate=float(RATE), stride=STRIDE,
            )
        )  # fmt: skip
        prepare(
            Options(
                str(folder / "a.json"),
                {"rgb": str(folder / "features")},
                None,
                str(folder / "data"),
                dtype="float32",
                workers=1,
            )
        )
        config = tiny_config(folder / "data", refinements=1)
        config.data.triaxial = ()
        train_and_evaluate(config.to_dict(), folder / "w")
        export(folder / "w", folder / "e", weights="w.pth")
    return folder


def test_a_video_is_detected_in_as_its_features_are(home):
    model = Model(home / "e")
    assert model.stride == pytest.approx(STRIDE / RATE)
    submission, lengths = detect_videos(home / "e", str(home / "videos"))
    assert submission.recordings == tuple(f"v{i:02d}" for i in range(12))
    assert lengths["v03"] == pytest.approx(COUNT / 20)
    for i, id in enumerate(submission.recordings):
        features = np.load(home / "features" / f"{id}.npy")
        encoded = model.encoder.encode(str(home / "videos" / f"{id}.mp4"))
        np.testing.assert_allclose(encoded.features, features, rtol=1e-4, atol=1e-6)
        expected = model(features, duration=lengths[id])
        mine = submission.table.recording == i
        np.testing.assert_allclose(submission.table.segments[mine], [row["segment"] for row in expected], atol=1e-3)
        np.testing.assert_allclose(submission.table.score[mine], [row["score"] for row in expected], rtol=1e-4)


def test_the_library_the_command_and_what_they_show(home, tmp_path):
    source = str(home / "videos" / "v09.mp4")
    rows = Model(home / "e").detect(source)
    run(
        "detect", f"--model={home / 'e'}", f"--video={source}", f"--out={tmp_path / 'd.json'}",
        f"--subtitles={tmp_path / 's.vtt'}", f"--annotated={tmp_path / 'a.mp4'}", f"--plot={tmp_path / 'p.png'}",
        "--least=0.01",
    )  # fmt: skip
    (found,) = json.loads((tmp_path / "d.json").read_text())["results"].values()
    np.testing.assert_allclose([r["segment"] for r in found], [r["segment"] for r in rows], atol=1e-3)
    cues = (tmp_path / "s.vtt").read_text().count(" --> ")
    assert cues == sum(row["score"] >= 0.01 for row in rows) > 0
    assert len(list(Video(str(tmp_path / "a.mp4")).shown(strict=True))) == COUNT
    assert (tmp_path / "p.png").stat().st_size > 1000
    with pytest.raises(InputError, match="has 12 videos; subtitles and annotations are of one"):
        detect_in_videos(home / "e", str(home / "videos"), subtitled=str(tmp_path / "s.vtt"))


@pytest.fixture(scope="module")
def without(home):
    """The same model without its encoder."""
    with known():
        return export(home / "w", home / "without")


@pytest.fixture(scope="module")
def left_over(home):
    """What there is in the temporary folder of this file's services."""
    folder = home / "temporary"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("TMPDIR", str(folder))
        yield lambda: list(folder.iterdir())


@pytest.fixture(scope="module")
def server(home, left_over):
    limits = ("--max_video_mb=0.2", "--max_video_seconds=20", "--max_videos=3", "--video_timeout=60")
    with Server(home / "e", *limits) as server:
        yield server
        status, errors = server.end()
    assert status == 0
    assert "Traceback" not in errors


MP4 = {"content-type": "video/mp4"}


def test_a_video_in_a_body(home, server, left_over):
    about = json.loads(server.ask("GET", "/")[1])
    assert "video/*" in about["content_types"]
    assert about["limits"]["max_videos"] == 3
    video = home / "videos" / "v09.mp4"
    expected = Model(home / "e").detect(video)
    status, found = server.detect(video.read_bytes(), MP4, "/detect")
    assert status == 200
    assert [row["label"] for row in found["detections"]] == [row["label"] for row in expected]
    for key in ("segment", "score"):
        np.testing.assert_allclose([r[key] for r in found["detections"]], [r[key] for r in expected], atol=1e-3)
    with video.open("rb") as file:  # in chunks, without a length
        status, again = server.detect(iter(lambda: file.read(1000), b""), MP4, "/detect?top=2")
    assert (status, again["detections"]) == (200, found["detections"][:2])
    # Several at a time, and features beside them.
    features = np.load(home / "features" / "v09.npy")
    body = io.BytesIO()
    np.save(body, features)
    with ThreadPoolExecutor(4) as pool:
        videos = [pool.submit(server.detect, video.read_bytes(), MP4, "/detect") for _ in range(3)]
        beside = pool.submit(server.detect, body.getvalue(), NPY, "/detect")
    assert all(v.result() == (200, found) for v in videos)
    assert beside.result()[0] == 200
    assert not left_over()


def test_a_truncated_video_in_a_body_is_noted(home, server, tmp_path):
    whole, cut = tmp_path / "whole.ts", tmp_path / "cut.ts"
    videos.write(whole, videos.regular(COUNT, 20.0), codec="libx264")
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    status, found = server.detect(cut.read_bytes(), {"content-type": "video/mp2t"}, "/detect")
    assert status == 200
    seconds = float(Model(home / "e").encoder.encode(str(cut)).seconds)
    assert all(row["segment"][1] <= seconds + 1e-6 for row in found["detections"])
    assert 2 < seconds < 5
    assert all(str(tempfile.gettempdir()) not in note for note in found.get("notes", []))


@pytest.mark.parametrize(
    ("make", "path", "status", "words"),
    [
        (lambda: b"", "/detect", 400, "empty body"),
        (lambda: b"no video at all" * 100, "/detect", 422, "the video"),
        (lambda: bytes(300_000), "/detect", 413, "larger than 0.2 MB"),
        (lambda: iter([bytes(100_000)] * 3), "/detect", 413, "larger than 0.2 MB"),
        (lambda: b"x", "/detect?stride=1", 422, "a stride of its own"),
        (lambda: b"x", "/detect?duration=1", 422, "a duration of its own"),
    ],
)
def test_what_is_no_video_in_a_body_is_one_line(server, left_over, make, path, status, words):
    found = server.detect(make(), MP4, path)
    assert found[0] == status, found
    assert words in found[1]["error"]
    assert "\n" not in found[1]["error"]
    assert tempfile.gettempdir() not in found[1]["error"]
    assert not left_over()


def test_a_long_video_and_a_client_that_leaves(home, server, left_over, tmp_path):
    """The length counts that is decoded, whatever a header says; who has left is not worked for."""
    long = tmp_path / "long.mp4"
    grey = lambda k: np.full((32, 32, 3), k % 2 * 90, np.uint8)  # noqa: E731
    videos.write(long, videos.regular(1000, 20.0), draw=grey, codec="libx264")
    status, found = server.detect(long.read_bytes(), MP4, "/detect")
    assert (status, found["error"]) == (413, "the video is longer than 20 s")
    content = (home / "videos" / "v00.mp4").read_bytes()
    head = f"POST /detect HTTP/1.1\r\nhost: x\r\ncontent-type: video/mp4\r\ncontent-length: {len(content)}\r\n\r\n"
    for part in (len(content) // 2, len(content)):
        server.socket(head, content[:part]).close()
    assert server.detect(content, MP4, "/detect")[0] == 200
    until(lambda: not left_over(), server.process)
    assert server.ask("GET", "/healthz")[0] == 200


@pytest.mark.parametrize("where", ["mkdtemp", "TemporaryFile"])
def test_a_full_disk_is_told(home, left_over, monkeypatch, where):
    """Of the body and of its features; what there is of them goes."""

    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def receive():
        return {"type": "http.request", "body": (home / "videos" / "v00.mp4").read_bytes(), "more_body": False}

    bodies = VideoBodies(Model(home / "e"), Limits())
    monkeypatch.setattr(tempfile, where, full)
    request = Request({"type": "http", "headers": []}, receive)
    with pytest.raises(Refused, match=r"no room for the video .No space left on device.: try again") as refused:
        asyncio.run(bodies.recording(request, lambda future: future))
    bodies.close()
    assert refused.value.status == 503
    assert not left_over()


def test_a_model_without_encoder_takes_no_video(without):
    model = Model(without)
    assert not model.takes_videos
    with pytest.raises(Refused, match=r"content-type 'video/mp4': the model has no encoder, .*send .*\(in UTF-8\)$"):
        kind_of({"content-type": "Video/MP4"}, model)


def test_features_of_another_encoder_are_refused(home, tmp_path):
    """Files of the training's encoder bring their strides and durations; others are refused, or insisted on."""
    features = str(home / "features")
    submission, lengths = detect(home / "e", [features])
    from_videos, expected = detect_videos(home / "e", str(home / "videos"))
    assert lengths == pytest.approx(expected)
    np.testing.assert_allclose(submission.table.segments, from_videos.table.segments, atol=1e-3)
    other = tmp_path / "other"
    shutil.copytree(features, other)
    (other / "v01.npy").write_bytes((other / "v02.npy").read_bytes())  # of the same length
    with pytest.raises(InputError, match=r"v01\.npy: record v01: not the features that encoder\.json says"):
        detect(home / "e", [str(other)])
    assert len(detect(home / "e", [str(other)], accept=["encoder"])[0].recordings) == 12
    values = json.loads((other / "encoder.json").read_text())
    values["features"]["preprocessing"]["crop"] = "ten"
    (other / "encoder.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"features 'rgb' are not of the encoder .*preprocessing .*--accept=encoder"):
        detect(home / "e", [str(other)])
    (other / "encoder.json").unlink()
    with pytest.raises(InputError, match=r"no encoder\.json beside the files says what they are"):
        detect(home / "e", [str(other / "v01.npy")])
    submission, _ = detect(home / "e", [str(other)], accept=["encoder"])
    assert len(submission.recordings) == 12


def test_the_folder_needs_no_model_code(home):
    """One program of the encoder, for all platforms, of what the training's features were."""
    assert {p.name for p in (home / "e" / "encoder").iterdir()} == {
        "encoder.json",
        "encode.stablehlo",
        "weights.safetensors",
    }
    assert Model(home / "e").encoder.identity["rate"] == RATE
    assert Model(home / "e").encoder._sampling.phase == Fraction(0)


def test_another_encoder_is_refused(home, tmp_path, monkeypatch):
    with known():
        monkeypatch.setattr(plan, "read_weights", lambda *args: Weights({}, None, "6" * 64, "small"))
        with pytest.raises(
            InputError,
            match=r"trained on features of another kind: weights 5{12}\.\., not 6{12}\.\.: "
            r"give that encoder and weights; if w\.pth should be them, download it again$",
        ):
            export(home / "w", tmp_path / "e", weights="w.pth")
    assert not (tmp_path / "e").exists()


def test_a_model_without_its_encoder(home, without):
    with pytest.raises(InputError, match=r"exported without its encoder: .*--weights=FILE"):
        detect_videos(without, str(home / "videos"))


def test_an_encoder_can_be_added_later(home, without, tmp_path):
    """It detects as if both had been exported together; of another encoder, or twice, it is refused."""
    with known(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "read_weights", weights)
        add(without, tmp_path / "with", weights="w.pth")
        with pytest.raises(InputError, match="has an encoder already"):
            add(tmp_path / "with", tmp_path / "again", weights="w.pth")
        patch.setattr(plan, "read_weights", lambda *args: Weights({}, None, "6" * 64, "small"))
        with pytest.raises(InputError, match=r"without: trained on features of another kind: weights 5555"):
            add(without, tmp_path / "other", weights="w.pth")
    assert {p.name for p in tmp_path.iterdir()} == {"with"}
    video = home / "videos" / "v10.mp4"
    for one, two in zip(Model(tmp_path / "with").detect(video), Model(home / "e").detect(video), strict=True):
        assert one["label"] == two["label"]
        np.testing.assert_allclose([one["score"], *one["segment"]], [two["score"], *two["segment"]], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("encoder.json", lambda v: v["features"].pop("rate"), "does not say the images a second"),
        ("encoder.json", lambda v: v["features"].update(images=0), "no sampling that can be"),
        ("encoder.json", lambda v: v["features"]["preprocessing"].update(size=5), "no sampling that can be"),
        ("encoder.json", lambda v: v["features"].update(images=5), "not the program of this model"),
    ],
)
def test_a_damaged_encoder_is_one_line(home, tmp_path, name, change, words):
    from tal_jax.deploy import model_folder

    copy = tmp_path / "e"
    shutil.copytree(home / "e", copy)
    values = json.loads((copy / "encoder" / name).read_text())
    change(values)
    (copy / "encoder" / name).write_text(json.dumps(values))
    model_folder.seal(copy)
    with pytest.raises(InputError, match=words):
        Model(copy).encoder  # noqa: B018
