"""Annotation files: what is read, what is refused, and what `clean` drops and clips."""

import collections
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tal_jax.data import annotations
from tal_jax.data.annotations import Instance, Recording
from tal_jax.errors import InputError
from tal_jax.prepare import damaged

SHARED = Path(__file__).parents[2] / "../shared/data"


def write(path, database):
    path.write_text(database if isinstance(database, str) else json.dumps({"database": database}))
    return path


def entry(**changes):
    return {"subset": "training", "duration": 10, "annotations": [{"segment": [1, 2], "label": "a"}]} | changes


def test_reads_what_the_data_sets_ship(tmp_path):
    path = write(
        tmp_path / "a.json",
        {
            "one": {"subset": "Test", "annotations": [{"segment": ["88.6", "90.9"], "label": "Golf"}], "url": "x"},
            "two": {"subset": "train", "duration": "12.5"},
            "thrée": {"subset": "VAL", "duration": None, "annotations": [{"segment": [3, 1], "label": "é"}]},
            "four": {
                "subset": "train",
                "annotations": [{"label": "b"}, {"segment": [0, 1], "label": "c"}, {"label": "a"}, {"label": "b"}],
            },
        },
    )
    assert annotations.read(path) == {
        "one": Recording("one", "testing", None, (Instance(88.6, 90.9, "Golf"),), ("Golf",)),
        "two": Recording("two", "training", 12.5, (), ()),
        "thrée": Recording("thrée", "validation", None, (Instance(3.0, 1.0, "é"),), ("é",)),
        "four": Recording("four", "training", None, (Instance(0.0, 1.0, "c"),), ("a", "b", "c")),
    }


def test_labels_hold_those_of_all_annotations_once():
    recording = Recording("r", "training", 10, (Instance(5, 5, "b"), Instance(1, 2, "b")), ("c", "a", "a"))
    assert recording.labels == ("a", "b", "c")
    assert recording.labels_without_segment() == ("a", "c")
    assert annotations.clean(recording, 10.0)[0] == (Instance(1, 2, "b"),)


@pytest.mark.parametrize(
    ("database", "named"),
    [
        ("{", ["JSON"]),
        ("[" * 100_000, ["JSON"]),
        ("[]", ["database"]),
        ('{"database": []}', ["database"]),
        ('{"database": {"x": {"subset": "train"}, "x": {"subset": "train"}}}', ["'x'", "twice"]),
        ({"x": 3}, ["x"]),
        ({"x": entry(subset="holdout")}, ["x", "holdout"]),
        ({"x": entry(subset=None)}, ["x", "subset"]),
        ({"x": entry(duration=0)}, ["x", "duration"]),
        ({"x": entry(duration="long")}, ["x", "duration"]),
        ({"x": entry(duration=True)}, ["x", "duration"]),
        ('{"database": {"x": {"subset": "train", "duration": NaN}}}', ["x", "duration"]),
        ('{"database": {"x": {"subset": "train", "duration": 1e999}}}', ["x", "duration"]),
        ('{"database": {"x": {"subset": "train", "duration": 1' + "0" * 400 + "}}}", ["x", "duration"]),
        ({"x": entry(annotations={})}, ["x", "annotations"]),
        ({"x": entry(annotations=[{"segment": [1], "label": "a"}])}, ["x", "segment"]),
        ({"x": entry(annotations=[{"segment": [1, "inf"], "label": "a"}])}, ["x", "end"]),
        ({"x": entry(annotations=[{"segment": [None, 1], "label": "a"}])}, ["x", "start"]),
        ({"x": entry(annotations=[{"segment": [1, 2]}])}, ["x", "label"]),
        ({"x": entry(annotations=[{}])}, ["x", "label"]),
        ({"x": entry(annotations=["a"])}, ["x", "label"]),
        ({"x": entry(annotations=[{"segment": None, "label": "a"}])}, ["x", "segment"]),
        ({"x": entry(annotations=[{"label": ""}])}, ["x", "label"]),
        ({"x": entry(annotations=[{"segment": [1, 2], "label": "a\nb"}])}, ["x", "label"]),
    ],
)
def test_refuses(tmp_path, database, named):
    path = write(tmp_path / "a.json", database)
    with pytest.raises(InputError) as error:
        annotations.read(path)
    for word in [str(path), *named]:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "a/b", "a\\b", "a\0", "a\n", "\ud800"])
def test_refuses_ids_that_are_no_file_names(tmp_path, id):
    with pytest.raises(InputError, match="file name") as error:
        annotations.read(write(tmp_path / "a.json", {id: entry()}))
    str(error.value).encode()


def test_strides_and_frame_rates_are_read_where_they_are_numbers_and_written_again(tmp_path):
    given = [
        ({"stride": 0.5, "fps": "30000/1001"}, (0.5, 30000 / 1001)),
        ({"stride": "0.25", "fps": 25}, (0.25, 25.0)),
        ({"stride": None, "fps": "unknown"}, (None, None)),
        ({"stride": -1, "fps": 0}, (None, None)),
        ({"stride": "1/0", "fps": True}, (None, None)),
    ]
    path = write(tmp_path / "a.json", {f"r{i}": entry(**fields) for i, (fields, _) in enumerate(given)})
    found = annotations.read(path)
    assert [(r.stride, r.fps) for r in found.values()] == [expected for _, expected in given]
    again = json.dumps(annotations.layout(found.values(), "1"))
    (tmp_path / "b.json").write_text(again)
    assert annotations.read(tmp_path / "b.json") == found


def test_times_that_cannot_be_used_are_counted_over_all_recordings(tmp_path):
    wrong = {"label": "a", "start": 1, "end": 2}
    database = {f"r{i}": entry(annotations=[wrong, wrong]) for i in range(5)} | {"good": entry()}
    path = write(tmp_path / "a.json", database)
    with pytest.raises(
        InputError, match=r"10 annotations without usable times, of r0, r1, r2 \(and 2 more\): .*'start'"
    ):
        annotations.read(path)
    found = annotations.read(path, keep_untimed=True)
    assert (found["r4"].instances, found["r4"].labels, len(found["r4"].untimed)) == ((), ("a",), 2)
    assert found["good"].untimed == ()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json"):
        annotations.read(tmp_path / "absent.json")


def test_clean_drops_and_clips_each_kind():
    segments = [(1, 2), (3, 3), (5, 4), (-1, 1), (8, 12), (8, 10.0005), (10, 11), (-3, -1), (-1, 11), (4, 4.5)]
    recording = Recording("r", "training", 10, tuple(Instance(s, e, f"{s}") for s, e in segments))
    kept, notes = annotations.clean(recording, 10.0, min_seconds=0.5)
    assert [(i.start, i.end) for i in kept] == [(1, 2), (0, 1), (8, 10), (8, 10), (0, 10)]
    assert [note.kind for note in notes] == [
        "degenerate",
        "degenerate",
        "negative start",
        "overlong",
        "outside",
        "outside",
        "negative start",
        "overlong",
        "short",
    ]
    assert {note.id for note in notes} == {"r"}
    assert "8.000-12.000" in notes[3].text


times = st.floats(-5, 15)


@given(st.lists(st.tuples(times, times)), st.floats(0.1, 10), st.floats(0, 3))
def test_clean_keeps_only_what_lies_inside_and_loses_nothing_else(segments, duration, min_seconds):
    recording = Recording("r", "training", duration, tuple(Instance(s, e, str(i)) for i, (s, e) in enumerate(segments)))
    kept, notes = annotations.clean(recording, duration, min_seconds)
    assert all(0 <= i.start < i.end <= duration and i.end - i.start > min_seconds for i in kept)
    dropped = collections.Counter(note.kind for note in notes if note.kind in ("degenerate", "outside", "short"))
    assert len(kept) + dropped.total() == len(segments)
    assert dropped["degenerate"] == sum(s >= e for s, e in segments)
    for instance in kept:
        start, end = segments[int(instance.label)]
        assert instance.start == max(start, 0)
        assert instance.end == min(end, duration)


@pytest.mark.skipif(not SHARED.exists(), reason="the ActivityNet annotations are not here")
def test_activitynet_has_its_known_flaws():
    recordings = annotations.read(SHARED / "activitynet13/annotations.json")
    subsets = collections.Counter(r.subset for r in recordings.values())
    assert subsets == {"training": 9649, "validation": 4728, "testing": 4851}
    kinds, kept = collections.Counter(), 0
    for recording in recordings.values():
        instances, notes = annotations.clean(recording, recording.duration)
        kept += len(instances)
        kinds.update(note.kind for note in notes)
    assert kinds == {"degenerate": 12, "overlong": 116}
    assert kept == 22_152 - 12


def test_damaged_lists(tmp_path):
    assert len(damaged.read("hacs")) == 6
    (tmp_path / "list").write_text("a\n\n b \n")
    assert damaged.read(tmp_path / "list") == {"a", "b"}
    with pytest.raises(InputError, match="hacs"):
        damaged.read(tmp_path / "absent")
