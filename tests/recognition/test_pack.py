"""Packed sets of real video files: which images they hold, what is left out, that a run goes on, what is refused."""

import json

import numpy as np
import pytest
from support import videos
from support.commands import run

from tal_jax.data.dataset import open_split, read_metadata
from tal_jax.errors import InputError
from tal_jax.recognition import cutting, pack

pytest.importorskip("av")
FPS = 10.0


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three videos whose images tell their number, and annotations."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "videos").mkdir()
    for name, count, start in (("a.mp4", 90, 0), ("v_b.mp4", 60, 200), ("c.mkv", 45, 400)):
        videos.write(folder / "videos" / name, videos.regular(count), codec="libx264",
                     draw=lambda k, start=start: videos.numbered(start + k, 96, 176))  # fmt: skip
    database = {
        "a": {"subset": "training", "annotations": [
            {"segment": [1.0, 2.0], "label": "run"}, {"segment": [0.2, 0.5], "label": "jump"},
        ]},
        "b": {"subset": "training", "annotations": [{"segment": [0.05, 0.08], "label": "run"}]},
        "c": {"subset": "validation", "annotations": [{"segment": [0.5, 9.0], "label": "jump"}]},
    }  # fmt: skip
    (folder / "a.json").write_text(json.dumps({"database": database}))
    return folder


def options(source, out, **fields):
    known = {"annotations": str(source / "a.json"), "fps": FPS, "short_side": 96, "workers": 1, **fields}
    return pack.Options(videos=str(source / "videos"), out=str(out), **known)


def numbers(record):
    images = record.features["rgb"]
    return [videos.number(images[i]) for i in range(len(images))]


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "set"
    pack.pack(options(source, out))
    return out


def test_the_images_of_segments(packed):
    metadata = read_metadata(packed)
    assert (metadata.labels, metadata.streams, metadata.packed) == (("jump", "run"), {"rgb": 3}, True)
    training = open_split(packed, "training")
    assert training.ids.tolist() == ["a.00000", "a.00001", "b.00000"]
    records = [training[i] for i in range(3)]
    # At 10 images a second of a video with 30, point k of the grid is image 3 k.
    assert [numbers(r) for r in records] == [[6, 9, 12], list(range(30, 60, 3)), [203]]
    assert [r.present.tolist() for r in records] == [[0], [1], [1]]
    assert [r.duration for r in records] == pytest.approx([0.3, 1.0, 0.1])
    assert [r.stride for r in records] == [0.1] * 3
    for r in records:
        assert r.segments.tolist() == [[0.0, r.duration]]
    assert records[0].features["rgb"][0].shape == (96, 176, 3)
    # A clip that goes on behind the end of its video ends there.
    assert numbers(open_split(packed, "validation")[0]) == [400 + 3 * k for k in range(5, 15)]


def test_whole_videos_keep_their_segments(source, tmp_path):
    pack.pack(options(source, tmp_path / "set", what="whole", fps=5.0))
    record = open_split(tmp_path / "set", "training")[0]
    assert numbers(record) == list(range(0, 90, 6))
    assert record.segments.tolist() == [[1.0, 2.0], [0.2, 0.5]]
    assert record.labels.tolist() == [1, 0]


def test_rows_of_a_csv_file(source, tmp_path):
    (tmp_path / "clips.csv").write_text(
        "classname,youtube_id,subset,start,end,label\nrun,a,training,1,1.4,1\nrun,a,training,2,2.4,-1\n"
        "run,nowhere,training,0,2,1\n"
    )
    given = options(source, tmp_path / "set", annotations="", clips_csv=str(tmp_path / "clips.csv"))
    with pytest.raises(InputError, match=r"nowhere: no such video in .*--missing=skip"):
        pack.pack(given)
    text = pack.pack(options(source, tmp_path / "set", annotations="", clips_csv=str(tmp_path / "clips.csv"),
                             missing="skip"))  # fmt: skip
    assert "1 clips left out that do not show their class" in text
    assert "1 clips left out without their video" in text
    assert numbers(open_split(tmp_path / "set", "training")[0]) == [30, 33, 36, 39]


def test_tfds_opens_it(packed):
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(packed)
    assert builder.info.splits["training"].num_examples == 3
    assert builder.info.features["features"]["rgb"].feature.shape == (None, None, 3)


def test_a_run_goes_on_and_ends_the_same(source, packed, tmp_path, monkeypatch):
    calls = []
    cuts = cutting._cuts

    def failing(path, *rest):
        calls.append(path)
        if len(calls) == 3:
            raise InputError("stopped")
        return cuts(path, *rest)

    monkeypatch.setattr(cutting, "_cuts", failing)
    with pytest.raises(InputError, match="stopped"):
        pack.pack(options(source, tmp_path / "set"))
    assert not (tmp_path / "set" / "dataset_info.json").exists()
    pack.pack(options(source, tmp_path / "set"))
    assert len(calls) == 4  # those of the first shard were not decoded again
    files = sorted(p.name for p in packed.iterdir())
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == files
    for name in files:
        assert (tmp_path / "set" / name).read_bytes() == (packed / name).read_bytes(), name


def test_flow_lies_beside_the_images(source, tmp_path, monkeypatch):
    def shifted(pairs, method, bound=20.0):
        return [np.full((*a.shape, 2), (130, 120), np.uint8) for a, _ in pairs]

    monkeypatch.setattr(cutting, "fields_of", shifted)
    pack.pack(options(source, tmp_path / "set", flow=True))
    for record in open_split(tmp_path / "set", "training").records(range(3)):
        assert len(record.features["flow"]) == len(record.features["rgb"])
        field = record.features["flow"][0]
        assert field.shape == (96, 176, 2)
        assert np.abs(field.astype(int) - (130, 120)).max() <= 1


def test_a_damaged_image_is_refused(packed):
    record = open_split(packed, "training")[0]
    images = record.features["rgb"]
    images.files[0] = images.files[0][:100]
    with pytest.raises(ValueError, match="cannot be decoded"):
        images[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--annotations=A"], r"A: cannot be read|A: No such file"),
        ([], r"--annotations=A.json or --clips_csv=C.csv: give one of them"),
        (["--annotations=ANN", "--clips_csv=ANN"], r"give one of them"),
        (["--annotations=ANN", "--blocked=nothing"], r"--blocked"),
        (["--annotations=ANN", "--ignore_labels=walk"], r"no annotation has the label 'walk'"),
    ],
)
def test_refusals_are_one_line(source, tmp_path, flags, message):
    flags = [flag.replace("ANN", str(source / "a.json")) for flag in flags]
    ended = run("pack", f"--videos={source / 'videos'}", f"--out={tmp_path / 'set'}", *flags)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    import re

    assert re.search(message, ended.stderr)
    assert not (tmp_path / "set").exists()


def test_features_and_images_are_not_mixed_up(packed, tmp_path):
    ended = run("train", "--config=configs/supervised_watch.py", f"--workdir={tmp_path}", f"--config.data.dir={packed}")
    assert ended.returncode == 2
    assert "holds images, by launch.pack, and 'bmn' learns from features" in ended.stderr
