"""launch.prepare --clips: which clips are packed beside a set, and what they leave alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tal_jax.data import dataset
from tal_jax.errors import InputError
from tal_jax.prepare import prepare
from tal_jax.prepare import shards as packing

ROOT = Path(__file__).parents[2]
STREAMS = {"imu": 6, "audio": 2}


def entry(subset, seconds, *labels, segment=None):
    annotations = [{"label": label} | ({} if segment is None else {"segment": segment}) for label in labels]
    return {"subset": subset, "duration": seconds, "annotations": annotations}


def write(folder, name, database, *, seed=0):
    """NAME.json and, per stream, a folder NAME_STREAM with a file per id; returns the arrays."""
    rng = np.random.default_rng(seed)
    (folder / f"{name}.json").write_text(json.dumps({"database": database}))
    arrays = {}
    for stream, width in STREAMS.items():
        (folder / f"{name}_{stream}").mkdir(exist_ok=True)
        for id, record in database.items():
            length = round(record["duration"] / 0.5)
            arrays[stream, id] = rng.standard_normal((length, width)).astype(np.float32)
            np.save(folder / f"{name}_{stream}" / f"{id}.npy", arrays[stream, id])
    return arrays


CLIPS = {
    # an id of a recording, too
    "r0": entry("training", 4.0, "b"),
    "c1": entry("training", 5.0, "a", segment=[0, 9]),
    "c2": entry("validation", 6.0, "a"),
    "c3": entry("training", 3.0),
    "c0": entry("train", 4.5, "b", "a"),
    "c4": entry("testing", 3.0, "not a class"),
}


@pytest.fixture
def arguments(tmp_path):
    recordings = {
        f"r{i}": entry(["training", "validation"][i % 2], 10.0 + i, "ab"[i // 2 % 2], segment=[1, 3 + i])
        for i in range(6)
    }
    write(tmp_path, "a", recordings)
    write(tmp_path, "c", CLIPS, seed=1)
    return {
        "annotations": str(tmp_path / "a.json"),
        "features": {name: str(tmp_path / f"a_{name}") for name in STREAMS},
        "stride": "0.5",
        "out": str(tmp_path / "data"),
        "dtype": "float32",
        "workers": 1,
    }


def with_clips(arguments):
    folder = Path(arguments["annotations"]).parent
    # in another order: the streams of the set keep that of --features
    sources = {name: str(folder / f"c_{name}") for name in reversed(STREAMS)}
    return arguments | {"clips": str(folder / "c.json"), "clip_features": sources}


def run(arguments):
    words = []
    for name, value in arguments.items():
        values = [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else [value]
        words += [f"--{name}={v}" for v in values]
    command = [sys.executable, "-W", "error", "-m", "launch.prepare", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def prepared(arguments, **changes):
    return prepare.prepare(prepare.Options(**arguments | changes))


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def test_the_command_packs_clips_as_one_more_split(arguments, tmp_path):
    import tensorflow_datasets as tfds

    result = run(with_clips(arguments))
    assert (result.returncode, result.stderr) == (0, "")
    assert "clips                 3          1      0.00" in result.stdout
    assert "2 clips left out, not of the training subset:\n  c2: validation\n  c4: testing" in result.stdout
    assert "1 clips left out, no label:\n  c3" in result.stdout
    assert "1 segments clipped, end after the recording:\n  c1: clip, 0.000-9.000 s" in result.stdout
    assert "without segments" not in result.stdout  # a clip is the action: nothing to remark
    clips = dataset.open_split(tmp_path / "data", "clips")
    assert list(clips.ids) == ["c0", "c1", "r0"]
    assert list(clips.durations) == [4.5, 5, 4]
    arrays = write(tmp_path, "c", CLIPS, seed=1)
    for i, present in enumerate([[0, 1], [0], [1]]):
        record = clips[i]
        assert record.present.tolist() == present
        assert record.features.keys() == STREAMS.keys()
        for stream, stored in record.features.items():
            np.testing.assert_array_equal(stored, arrays[stream, record.id], strict=True)
    assert clips[1].segments.tolist() == [[0, 5]]
    recording = dataset.open_split(tmp_path / "data", "training")[0]
    assert (recording.id, recording.duration) == ("r0", 10)
    assert list(clips.metadata.streams.items()) == list(STREAMS.items())
    assert clips.metadata.splits == {"training": 3, "validation": 3, "clips": 3}
    assert clips.metadata.recording_seconds["clips"][-1] == 5
    builder = tfds.builder_from_directory(tmp_path / "data")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == clips.metadata.splits


def test_clips_leave_the_rest_of_the_set_alone(arguments, tmp_path):
    clips = json.loads((tmp_path / "c.json").read_text())
    clips["database"]["c1"]["annotations"] += [{"label": "a", "segment": [i, i + 0.25]} for i in range(4)]
    (tmp_path / "c.json").write_text(json.dumps(clips))
    prepared(with_clips(arguments))
    prepared(arguments, out=str(tmp_path / "plain"))
    both, plain = dataset.read_metadata(tmp_path / "data"), dataset.read_metadata(tmp_path / "plain")
    assert both.fingerprint != plain.fingerprint
    for name in ("labels", "streams", "stride", "segment_seconds", "segments_per_recording", "dtypes"):
        assert getattr(both, name) == getattr(plain, name)
    assert len(dataset.open_split(tmp_path / "data", "clips")[1].segments) == 5
    files = content(tmp_path / "data")
    for name, data in content(tmp_path / "plain").items():
        if name.startswith("tal_jax-") or name.endswith(".npz"):
            assert files[name] == data, name


def test_the_same_command_goes_on_and_another_is_refused(arguments, tmp_path):
    everything = with_clips(arguments)
    plan = prepare.make_plan(prepare.Options(**everything))
    with prepare._claim(tmp_path / "data", plan) as unfinished:
        shards = list(prepare._shards(tmp_path / "data", unfinished, plan))
        assert [shard.split for shard in shards] == ["training", "validation", "clips"]
        packing.write_shard(shards[-1], lambda: False)
    written = Path(shards[-1].path).stat().st_mtime_ns
    prepared(everything)
    assert Path(shards[-1].path).stat().st_mtime_ns == written
    prepared(everything, out=str(tmp_path / "fresh"))
    assert content(tmp_path / "fresh") == content(tmp_path / "data")
    assert "already complete" in prepared(everything)
    in_order = {name: everything["clip_features"][name] for name in STREAMS}
    assert "already complete" in prepared(everything, clip_features=in_order)
    with pytest.raises(InputError, match="other arguments"):
        prepared(arguments)
    clips = json.loads((tmp_path / "c.json").read_text())
    clips["database"]["c0"]["annotations"].pop()
    (tmp_path / "c.json").write_text(json.dumps(clips))
    with pytest.raises(InputError, match="other arguments"):
        prepared(everything)


def test_missing_and_damaged_clips_are_left_out_on_request(arguments, tmp_path):
    (tmp_path / "c_imu/r0.npy").unlink()
    (tmp_path / "list").write_text("c1\n")
    with pytest.raises(InputError, match=r"c\.json: record r0: missing feature file, .*c_imu.*--missing=skip"):
        prepared(with_clips(arguments))
    text = prepared(with_clips(arguments), missing="skip", damaged=str(tmp_path / "list"))
    assert "1 recordings left out without features:\n  r0: clip, no r0.npy" in text
    assert "1 recordings left out as damaged:\n  c1: clip, listed in" in text
    assert list(dataset.open_split(tmp_path / "data", "clips").ids) == ["c0"]
    assert len(dataset.open_split(tmp_path / "data", "training")) == 3


def test_clips_may_lie_the_other_way_round(arguments, tmp_path):
    for path in (tmp_path / "c_imu").iterdir():
        np.save(path, np.load(path).T)
    arrays = write(tmp_path, "d", CLIPS, seed=1)
    prepared(with_clips(arguments))
    clips = dataset.open_split(tmp_path / "data", "clips")
    for i, id in enumerate(clips.ids):
        np.testing.assert_array_equal(clips[i].features["imu"], arrays["imu", id])


def change(path, edit):
    values = json.loads(path.read_text())
    edit(values["database"])
    path.write_text(json.dumps(values))


def widen(path):
    np.save(path, np.zeros((8, 7), np.float32))


ERRORS = {
    "no features": (["--clips=", "imu, audio", "none", "--clip_features"], {"clip_features": {}}, None),
    "no clips": (["--clip_features=audio=", "--clips=C.json"], {"clips": None}, None),
    "one stream": (["imu, audio", "not imu", "--clip_features"], {"clip_features": {"imu": "c_imu"}}, None),
    "no folder": (["--clip_features=imu=absent"], {"clip_features": {"imu": "absent", "audio": "c_audio"}}, None),
    "label": (
        ["c.json", "record c1", "'z'", "correct the label"],
        {},
        lambda f: change(f / "c.json", lambda d: d["c1"]["annotations"][0].update(label="z")),
    ),
    "no training": (
        ["c.json", "training subset"],
        {},
        lambda f: change(f / "c.json", lambda d: [d.pop(id) for id in ("r0", "c1", "c0")]),
    ),
    "width": (["r0.npy", "record r0", "wrong width", "6 channels"], {}, lambda f: widen(f / "c_imu/r0.npy")),
    "json": (["c.json", "JSON"], {}, lambda f: (f / "c.json").write_text("[")),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_clips_are_one_line(arguments, tmp_path, case):
    words, changes, edit = ERRORS[case]
    if edit:
        edit(tmp_path)
    everything = with_clips(arguments) | changes
    everything["clip_features"] = {  # names of folders are those under tmp_path
        name: source if source == "absent" else str(tmp_path / source)
        for name, source in everything["clip_features"].items()
    }
    result = run({name: value for name, value in everything.items() if value is not None})
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    for word in ("launch.prepare: error: ", *words):
        assert word in result.stderr
    assert not (tmp_path / "data").exists()
