"""Features that say what they are: strides without a flag, and everything that contradicts their encoder.json."""

import json
import shutil

import numpy as np
import pytest

from tal_jax.checks.doubts import REASONS
from tal_jax.data import dataset, provenance
from tal_jax.errors import InputError
from tal_jax.prepare import plan, prepare

IDENTITY = {
    "encoder": "i3d_rgb", "weights": "a" * 64, "rate": "of the video", "images": 16, "interval": 1, "stride": 4,
    "phase": 0.0, "preprocessing": {"side": 224}, "layer": "pooled", "width": 3,
}  # fmt: skip
STRIDES = {"a": 0.16, "b": 0.2, "c": 0.16}
SNIPPETS = {"a": 50, "b": 40, "c": 60}


def features(folder, strides=STRIDES, identity=IDENTITY, snippets=SNIPPETS):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for id, count in SNIPPETS.items():
        np.save(folder / f"{id}.npy", rng.normal(size=(count, 3)).astype(np.float32))
    videos = {
        id: {"stride": stride, "seconds": stride * SNIPPETS[id], "snippets": snippets[id], "notes": []}
        for id, stride in strides.items()
    }
    provenance.write(folder / provenance.NAME, {"features": identity, "videos": videos})
    return folder


def annotations(tmp_path):
    database = {
        id: {
            "subset": "validation" if id == "c" else "training",
            "duration": round(STRIDES[id] * SNIPPETS[id], 3),
            "annotations": [{"segment": [1.0, 3.0], "label": "x"}],
        }
        for id in SNIPPETS
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"database": database}))
    return str(path)


def prepared(tmp_path, stride=None, **kwargs):
    folders = kwargs.pop("features", None) or {"rgb": str(features(tmp_path / "rgb"))}
    options = plan.Options(annotations(tmp_path), folders, stride, str(tmp_path / "set"), workers=1, **kwargs)
    return str(prepare.prepare(options))


def test_the_stride_of_every_video(tmp_path):
    said = prepared(tmp_path)
    training, validation = (dataset.open_split(tmp_path / "set", s) for s in ("training", "validation"))
    found = {r.id: r.stride for split in (training, validation) for r in split.records(range(len(split)))}
    assert found == pytest.approx(STRIDES)
    assert training.metadata.encoders == {"rgb": IDENTITY}
    assert "stream rgb: i3d_rgb, the video's own rate, as encoder.json says" in said


def with_sums(folder):
    text = json.loads((folder / provenance.NAME).read_text())
    for id, row in text["videos"].items():
        row["crc32c"] = provenance.sum_of(np.load(folder / f"{id}.npy"))
    (folder / provenance.NAME).write_text(json.dumps(text))
    return folder


def test_names_with_and_without_v(tmp_path):
    known = provenance.read(with_sums(features(tmp_path / "rgb")))
    videos = {"a": known.videos["a"], "v_b": known.videos["b"]}
    named = provenance.Provenance(known.identity, videos)
    assert named.video("a") is named.video("v_a") is videos["a"]
    assert named.video("b") is named.video("v_b") is videos["v_b"]
    assert named.video("c") is None


def test_features_that_were_exchanged(tmp_path):
    """Of another video of the same length: nothing but the sum tells."""
    folder = with_sums(features(tmp_path / "rgb"))
    kept = np.load(folder / "b.npy")
    prepared(tmp_path, features={"rgb": str(folder)})
    shutil.rmtree(tmp_path / "set")
    np.save(folder / "b.npy", kept[::-1])
    with pytest.raises(InputError, match=r"b\.npy: record b: not the features that encoder\.json says were encoded"):
        prepared(tmp_path, features={"rgb": str(folder)})
    prepared(tmp_path, features={"rgb": str(folder)}, accept=["encoder"])
    assert dataset.read_metadata(tmp_path / "set").labels == ("x",)


@pytest.mark.parametrize("finished", [False, True])
def test_an_encoding_that_was_stopped(tmp_path, finished):
    """Features of the videos so far, with an `encoder.json` of an earlier run or without one."""
    folder = features(tmp_path / "rgb")
    if not finished:
        (folder / provenance.NAME).unlink()
    (folder / f"{provenance.JOURNAL}1").write_text("")
    with pytest.raises(InputError, match=r"rgb: launch\.encode has not finished here: start the same command again"):
        prepared(tmp_path, "0.16", features={"rgb": str(folder)})


@pytest.mark.parametrize("stride", [None, "0.16"])
def test_a_folder_that_is_not_there(tmp_path, stride):
    with pytest.raises(InputError, match=r"--features=rgb=.*nowhere: no such folder or file"):
        prepared(tmp_path, stride, features={"rgb": str(tmp_path / "nowhere")})


def test_one_stride_of_all(tmp_path):
    prepared(
        tmp_path, features={"rgb": str(features(tmp_path / "rgb", dict.fromkeys(STRIDES, 0.16)))}, accept=["durations"]
    )
    assert dataset.read_metadata(tmp_path / "set").stride == pytest.approx(0.16)


@pytest.mark.parametrize(
    ("stride", "made", "words"),
    [
        ("0.5", {}, r"record a: its snippets are 0.16 s apart, not 0.5"),
        (None, {"identity": {**IDENTITY, "width": 4}}, "features have 4 channels, the files 3"),
        (None, {"snippets": {**SNIPPETS, "b": 41}}, "record b: its file has another length than was encoded"),
    ],
)
def test_what_contradicts_the_encoder(tmp_path, stride, made, words):
    folder = {"rgb": str(features(tmp_path / "rgb", **made))}
    with pytest.raises(InputError, match=rf"encoder\.json: {words}.*insist with --accept=encoder") as e:
        prepared(tmp_path, stride, features=folder)
    assert "encoder" in REASONS
    assert len(str(e.value).splitlines()) == 1


def test_one_can_insist(tmp_path):
    prepared(tmp_path, "duration", accept=["encoder"])
    made = dataset.read_metadata(tmp_path / "set")
    assert made.encoders == {"rgb": IDENTITY}


def test_streams_with_other_strides(tmp_path):
    both = {"rgb": str(features(tmp_path / "rgb")), "flow": str(features(tmp_path / "flow", {**STRIDES, "b": 0.25}))}
    with pytest.raises(InputError, match=r"record b: its snippets are 0\.25 s apart, those of another stream 0\.2 s"):
        prepared(tmp_path, features=both)


def test_clips_of_another_encoder(tmp_path):
    clips = tmp_path / "clips.json"
    entry = {"subset": "training", "duration": 8.0, "annotations": [{"segment": [0, 8.0], "label": "x"}]}
    clips.write_text(json.dumps({"database": {"a": entry}}))
    other = features(tmp_path / "other", identity={**IDENTITY, "weights": "b" * 64})
    with pytest.raises(
        InputError, match=r"--clip_features=rgb: not the encoder .*weights bbbbbbbbbbbb\.\., not aaaaaaa"
    ):
        prepared(tmp_path, clips=str(clips), clip_features={"rgb": str(other)})


def test_features_without_encoder_json_need_a_stride(tmp_path):
    folder = features(tmp_path / "rgb")
    (folder / provenance.NAME).unlink()
    with pytest.raises(
        InputError, match=r"give one of --stride and --images_per_snippet: .*features of launch\.encode"
    ):
        prepared(tmp_path, features={"rgb": str(folder)})
