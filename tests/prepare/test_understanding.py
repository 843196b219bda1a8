"""What launch.prepare says of times, labels and classes: told, refused with a cause, or accepted by name."""

import json
from pathlib import Path

import numpy as np
import pytest

from tal_jax.data import dataset
from tal_jax.data.rows import Assembler
from tal_jax.errors import InputError
from tal_jax.prepare import prepare
from tal_jax.prepare.summary import ClassSummary, SplitSummary, Summary
from tal_jax.windows import Framing


def recording(count, *segments, subset="training", stride=0.5, **fields):
    """A record of an annotation file for `count` snippets; a segment is (start, end, label) or any annotation."""
    entries = [{"segment": [s[0], s[1]], "label": s[2]} if isinstance(s, tuple) else s for s in segments]
    return {"subset": subset, "duration": count * stride, "annotations": entries, "count": count} | fields


@pytest.fixture
def packed(tmp_path):
    """Writes a set and prepares it: packed(database, **options) -> what it prints."""

    def run(database, *, shapes=None, suffix=".npy", **options):
        (tmp_path / "x").mkdir(exist_ok=True)
        for id, entry in database.items():
            shape = (shapes or {}).get(id, (entry["count"], 3))
            array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
            if suffix == ".npy":
                np.save(tmp_path / "x" / f"{id}.npy", array)
            else:
                np.savez(tmp_path / "x" / f"{id}.npz", array)
        (tmp_path / "a.json").write_text(json.dumps({"database": database}))
        fields = {"stride": "0.5", "workers": 1, "out": str(tmp_path / "data"), "dtype": "float32"}
        return prepare.prepare(
            prepare.Options(str(tmp_path / "a.json"), {"x": str(tmp_path / "x")}, **fields | options)
        )

    return run


def refused(packed, tmp_path, database, *words, **options):
    with pytest.raises(InputError) as error:
        packed(database, **options)
    assert not (Path(options.get("out", tmp_path / "data")) / "dataset_info.json").exists()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def records(tmp_path, split="training"):
    found = dataset.open_split(tmp_path / "data", split)
    return {record.id: record for record in (found[i] for i in range(len(found)))}


GOOD = {f"r{i}": recording(20 + i, (1, 4, "a"), (5, 8, "b")) for i in range(3)}


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        ({"label": "a", "start": 1, "end": 3}, "times in 'start', 'end'"),
        ({"label": "a", "t-start": 1, "t-end": 3}, "times in 't-start', 't-end'"),
        ({"label": "a", "startTime": "1.5", "endTime": ""}, "times in 'startTime', 'endTime'"),
        ({"label": "a", "Segment": [1, 3]}, "times in 'Segment'"),
        ({"label": "a", "segments": [[1, 3], [4, 5]]}, "times in 'segments'"),
        ({"label": "a", "start_frame": None}, "times in 'start_frame'"),
        ({"label": "a", "segment": None}, "segment None is not [start, end]"),
        ({"label": "a", "segment": []}, "segment [] is not"),
        ({"label": "a", "segment": ""}, "segment '' is not"),
        ({"label": "a", "segment": "1-3"}, "segment '1-3' is not"),
        ({"label": "a", "segment": {"start": 1, "end": 3}}, "is not [start, end]"),
        ({"label": "a", "segment": ["1 s", "3 s"]}, "start '1 s' is not a finite number"),
        ({"label": "a", "segment": ["00:01", "00:03"]}, "start '00:01'"),
        ({"label": "a", "segment": [1, None]}, "end None"),
        ({"label": "a", "segment": [1, 2, 3]}, "segment [1, 2, 3]"),
    ],
)
def test_times_that_cannot_be_used_are_named_also_where_the_class_has_others(packed, tmp_path, annotation, why):
    database = GOOD | {f"w{i}": recording(20, (1, 4, "a"), annotation) for i in range(5)}
    named = "5 annotations without usable times, of w0, w1, w2 (and 2 more)"
    refused(packed, tmp_path, database, "a.json", named, why, "--accept=untimed")
    text = packed(database, accept=("untimed",))
    assert "1 contradictions accepted:\n  untimed: " in text
    assert dataset.read_metadata(tmp_path / "data").accepted == ("untimed",)
    assert records(tmp_path)["w0"].segments.tolist() == [[1, 4]]


def test_fields_that_are_not_times_do_no_harm(packed, tmp_path):
    extra = {"label": "a", "label_id": 3, "background": False, "time": "morning", "gender": "f", "frames": True}
    text = packed(GOOD | {"w": recording(20, (1, 4, "a"), extra)})
    assert "accepted" not in text


def test_annotations_under_another_name_are_not_lost(packed, tmp_path):
    entry = recording(20)
    entry["events"] = [*entry.pop("annotations"), {"label": "a", "segment": [1, 2]}]
    refused(packed, tmp_path, GOOD | {"w": entry}, "w: no \"annotations\", but 'events' holds some")


def test_recordings_with_labels_alone_are_no_background(packed, tmp_path):
    text = packed(GOOD | {"w": recording(20, {"label": "a"}), "n": recording(20)})
    assert (
        "1 recordings without any segment of their labels: supervised training leaves them out:\n  w: training" in text
    )
    assert "1 training recordings without annotations, all background:\n  n: no annotation" in text
    split = dataset.open_split(tmp_path / "data", "training")
    assert dict(zip(split.ids.tolist(), split.weak_only.tolist(), strict=True)) == {
        "n": False, "r0": False, "r1": False, "r2": False, "w": True,
    }  # fmt: skip


def test_a_set_without_segments_is_for_the_weak_track_alone(packed, tmp_path):
    labels = {f"r{i}": recording(20, {"label": "ab"[i % 2]}) for i in range(4)}
    refused(packed, tmp_path, labels, "no segment to learn from", "4 annotated training", "r0", "--accept=no_segments")
    assert "2 classes" in packed(labels, accept=["no_segments"])
    assert dataset.read_metadata(tmp_path / "data").accepted == ("no_segments",)
    assert dataset.open_split(tmp_path / "data", "training").weak_only.all()


def test_a_set_whose_segments_are_all_too_short_is_refused_at_the_end(packed, tmp_path):
    refused(packed, tmp_path, GOOD, "all 6 segments of training are left out", "no_segments", min_seconds=5.0)
    packed(GOOD, min_seconds=5.0, accept=["no_segments"])  # goes on with the shards that are there


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_times_in_samples_are_refused(packed, tmp_path, suffix):
    """60 recordings at 50 Hz; only the first actions of some lie within the seconds that they last."""
    database = {f"r{i:02d}": recording(100, *((50 * s, 50 * s + 100, "a") for s in range(0, 45, 5))) for i in range(60)}
    for entry in database.values():
        entry["duration"] = 50.0 if suffix == ".npy" else None
    words = ("480 of 540 segments of the set", "r00 has one until 2100 and lasts 50 s", "samples", "--accept=segments")
    refused(packed, tmp_path, database, *words, suffix=suffix)
    text = packed(database, suffix=suffix, accept=["segments"])
    assert "segments left out, wholly outside the recording" in text


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_stride_that_is_wrong_for_all_is_refused(packed, tmp_path, suffix):
    database = {f"r{i:02d}": recording(50 + i, (1, 4, "a"), stride=0.2) for i in range(61)}
    words = ("61 of 61 recordings contradict --stride=0.1", "r00: 50 snippets x 0.1 s = 5.0 s, annotated 10.0 s")
    refused(packed, tmp_path, database, *words, "is the stride 0.2 s?", stride="0.1", suffix=suffix)
    packed(database, stride="0.2", suffix=suffix, out=str(tmp_path / "right"))
    text = packed(database, stride="0.1", suffix=suffix, accept=["durations"])
    assert "1 contradictions accepted:\n  durations" in text


def test_files_whose_durations_contradict_the_layout_are_read_as_these_say(packed, tmp_path):
    """Six files [T, C] that differ in width and not in T: by their widths they would be [C, T]."""
    database = {f"r{i}": recording(60, (1, 4, "a")) for i in range(6)}
    shapes = {f"r{i}": (60, 7 + i) for i in range(6)}
    refused(packed, tmp_path, database, "record r", "wrong width: 60 x ", shapes=shapes)
    refused(packed, tmp_path, database, "is stream x transposed", "--layout=x=TC", shapes=shapes, layouts={"x": "CT"})
    same = dict.fromkeys(shapes, (3, 60))
    text = packed(database, shapes=same)
    assert "x: read as CT, as the durations say, not TC as the widths do" in text
    assert records(tmp_path)["r0"].features["x"].shape == (60, 3)


def test_frame_rates_of_each_recording(packed, tmp_path):
    """Every 4 images: 0.16 s at 25 a second, 0.125 s at 32."""
    database = {
        "r25": recording(100, (1.6, 3.2, "a"), stride=0.16, fps=25),
        "r32": recording(80, (1, 2, "a"), stride=0.125, fps="32"),
        "v": recording(40, (1, 2, "a"), stride=0.125, fps="32/1", subset="validation"),
    }
    text = packed(database, stride=None, images_per_snippet="4")
    assert "stride: 0.125 to 0.16 s, of each recording (--images_per_snippet=4)" in text
    found = records(tmp_path)
    assert (found["r25"].stride, found["r32"].stride) == (0.16, 0.125)
    split = dataset.open_split(tmp_path / "data", "training")
    assert split.strides.tolist() == [0.16, 0.125]
    assert split.metadata.stride is None
    assert split.metadata.typical_stride == pytest.approx(0.1425)
    rows = Assembler(framing=Framing("window", 128), streams=("x",), width=3, num_classes=1, max_segments=1)
    row = rows.detection_row(split[0], 0, 0.0)[0]
    np.testing.assert_allclose(row.segments, [[10, 20]], rtol=1e-6)  # 1.6 s / 0.16 s
    assert (row.stride, row.duration) == (np.float32(0.16), 100)
    wrong = database | {"r25": database["r25"] | {"fps": 50}, "v": database["v"] | {"fps": 64}}
    refused(packed, tmp_path, wrong, "2 of 3 recordings", stride=None, images_per_snippet="4", out=str(tmp_path / "b"))


def test_strides_of_each_recording(packed, tmp_path):
    database = {"r": recording(20, (1, 2, "a"), stride=0.5), "s": recording(20, (1, 2, "a"), stride=0.25)}
    strides = {"r": 0.5, "s": 0.25}
    for id, entry in database.items():
        entry["stride"] = strides[id]
    (tmp_path / "s.csv").write_text("id,stride\nr,0.5\nv_s,0.25\n")
    for i, said in enumerate(("annotations", str(tmp_path / "s.csv"), "duration")):
        packed(database, stride=said, out=str(tmp_path / f"data{i}"))
        split = dataset.open_split(tmp_path / f"data{i}", "training")
        assert [split[n].stride for n in range(2)] == split.strides.tolist() == [0.5, 0.25]
    text = packed(database, stride="0.5", out=str(tmp_path / "one"))
    assert 'annotations hold "stride", 0.25 to 0.5: not used (--stride=annotations would)' in text
    assert "s: 20 snippets x 0.5 s = 10.0 s, annotated 5.0 s: a stride of 0.25 s would fit" in text
    (tmp_path / "s.csv").write_text("id,stride\nr,0.5\ns,0.5\n")
    with pytest.raises(InputError, match="other arguments"):
        packed(database, stride=str(tmp_path / "s.csv"), out=str(tmp_path / "data1"))


def test_classes_with_counts_and_lengths(packed):
    database = {
        "r": recording(40, (0, 2, "jump"), (3, 7, "jump"), (8, 9, "run")),
        "s": recording(40, (0, 3, "jump "), {"label": "run"}),
    }
    lines = packed(database).splitlines()
    assert "no validation split" in lines[2]
    head = next(n for n, line in enumerate(lines) if line.startswith("3 classes, segments"))
    assert [line.split() for line in lines[head + 1 : head + 4]] == [
        ["jump", "1", "2", "3.00"],
        ["jump", "1", "1", "3.00"],
        ["run", "2", "1", "1.00"],
    ]
    assert "  jump: 'jump' and 'jump ' are different classes" in lines


def test_two_hundred_classes_and_every_kind_of_note_stay_readable():
    from tal_jax.data.annotations import Note
    from tal_jax.prepare.summary import KINDS, LINES

    splits = {name: SplitSummary(9, 99, 1.0) for name in ("training", "validation", "testing", "clips")}
    classes = {f"class {i}": ClassSummary(3, {"training": i + 1}, float(i)) for i in range(200)}
    few = Summary(splits, [Note("short", f"r{i}", "text") for i in range(90)], classes, ["stride: 0.5 s"])
    assert len(few.table().splitlines()) <= LINES
    assert "and 188 more: 1 to 188 segments each, medians 0.00 to 187.00 s" in few.table()
    assert "class 199 " in few.table()
    every = Summary(splits, [Note(kind, f"r{i}", "text") for kind in KINDS for i in range(9)], classes)
    assert len(every.table().splitlines()) <= LINES
    assert Summary.from_json(json.loads(json.dumps(every.to_json()))).table() == every.table()
    assert Summary.from_json({"splits": {}, "notes": {}}).table()


def test_extremes(packed, tmp_path):
    """One snippet; an action as long as its recording, one shorter than a snippet; 3,000 actions; 2,000 classes."""
    text = packed({"r": recording(1, (0, 0.5, "a"))}, out=str(tmp_path / "one"))
    assert "no validation split" in text
    text = packed({"r": recording(40, (0, 20, "a"), (3, 3.01, "a"))}, out=str(tmp_path / "long"))
    assert "left out" not in text
    many = [(i / 100, i / 100 + 0.5, f"c{i % 2000}") for i in range(3000)]
    text = packed({"r": recording(100, *many)}, out=str(tmp_path / "many"))
    assert "2,000 classes" in text
    assert len(text.splitlines()) <= 40
    metadata = dataset.read_metadata(tmp_path / "many")
    assert (len(metadata.labels), metadata.segments_per_recording) == (2000, 3000)
