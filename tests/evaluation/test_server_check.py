"""Submissions for the servers: what is wrong is refused in one line, what is written is what was checked."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tal_jax.data import annotations
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation.server_check import Rules, check, read_classes, server_id

ROOT = Path(__file__).parents[2]
ACTIVITYNET = ROOT / "../shared/data/activitynet13/annotations.json"
A, B, C, TRAIN = (f"v_{name:_<11}" for name in ("first", "second", "third", "train"))  # as long as YouTube's ids


def entry(subset, duration, *labels):
    shown = [{"label": label, "segment": [0, 1]} for label in labels]
    return {"subset": subset, "duration": duration, "annotations": shown}


DATABASE = {
    A: entry("validation", 10.0, "Long jump"),
    TRAIN: entry("training", 10.0, "Making tea"),
    B: entry("validation", 20.0),
    C: entry("validation", None),
}


def row(label="Long jump", start=1.0, end=2.0, score=0.5):
    return {"label": label, "score": score, "segment": [start, end]}


GOOD = {A: [row(score=0.1), row("Making tea", score=0.9)], B: [row("Making tea", end=20.0005)], C: []}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "A.json").write_text(json.dumps({"database": DATABASE}))

    def write(results, **fields):
        path = tmp_path / "D.json"
        path.write_text(json.dumps({"results": results, **fields}))
        return path, tmp_path / "A.json"

    return write


def checked(paths, subset="validation", external_data=None, **rules):
    detections, truth = paths
    found, recordings = submission.read(detections), annotations.read(truth)
    names = {"source": "D.json", "annotations": "A.json"}
    return check(found, recordings, subset, Rules(**rules), external_data=external_data, **names)


def assert_equal(a, b):
    assert (a.recordings, a.labels, a.version, a.external_data) == (b.recordings, b.labels, b.version, b.external_data)
    for field in dataclasses.fields(a.table):
        np.testing.assert_array_equal(getattr(a.table, field.name), getattr(b.table, field.name))


def test_layout_of_the_servers(files, tmp_path):
    """Ids without "v_", in the annotations' order whatever the file's; a recording without detections is there."""
    found = checked(files({key: GOOD[key] for key in (C, B, A)}))
    submission.write(tmp_path / "S.json", found.submission)
    assert json.loads((tmp_path / "S.json").read_text()) == {
        "version": "VERSION 1.3",
        "external_data": {"used": False, "details": ""},
        "results": {A[2:]: GOOD[A], B[2:]: GOOD[B], C[2:]: []},
    }
    assert_equal(submission.read(tmp_path / "S.json"), found.submission)
    assert found.account() == [
        "validation: 3 recordings, 3 detections",
        "empty: 1 recordings without detections, 0 of them not in the file given",
        "unchecked: 1 recordings whose duration the annotations do not give",
        "external data: none (--external_data=TEXT says what was used)",
    ]
    # A submission is itself a detections file, and stays what it is.
    again = checked((tmp_path / "S.json", tmp_path / "A.json"))
    assert_equal(again.submission, found.submission)


@pytest.mark.parametrize(
    ("id", "known"),
    [(A, A[2:]), (A[2:], A[2:]), ("v_abcdefghi", "v_abcdefghi"), ("v_v_abcdefghi", "v_abcdefghi"), ("v_1", "v_1")],
)
def test_server_id(id, known):
    assert server_id(id) == known


FAULTS = {
    "unknown id": ({"x": [], "y": []}, r"'x' \(and 1 more\) is not in A.json: use"),
    "wrong subset": ({TRAIN: []}, "train______' is of the subset training, not validation: remove"),
    "twice": ({A[2:]: []}, "'v_first______' and 'first______' are the same: keep"),
    "unknown label": ({A: [row(), row("Tennis"), row("Tennis"), row("Golf")]}, r"detection 1 \(and 2 more\): unknown"),
    "other case": ({A: [row("LONG JUMP")]}, r"detection 0: unknown label 'LONG JUMP': did you mean 'Long jump'\?"),
    "underscore": ({A: [row("Making_tea")]}, "did you mean 'Making tea'"),
    "no label": ({B: [row(), {"score": 1, "segment": [0, 1]}]}, "second_____': detection 1: has no label"),
    "end before start": ({B: [row(), row(start=3.0)]}, r"detection 1: 3.000-2.000 s has no positive length: correct"),
    "no length": ({A: [row(start=2.0)] * 3}, r"detection 0 \(and 2 more\): 2.000-2.000 s has no positive length"),
    "negative": ({A: [row(start=-0.002)]}, "detection 0: -0.002-2.000 s starts before 0: .*--clip"),
    "beyond the end": ({B: [row(end=20.002)]}, "20.002 s ends after the recording, 20.000 s: .*--clip"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(files, fault):
    change, says = FAULTS[fault]
    with pytest.raises(InputError, match=says) as error:
        checked(files(GOOD | change))
    assert str(error.value).startswith("D.json: recording")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("results", "rules", "says"),
    [
        ({A: GOOD[A]}, {}, r"'second_____' of the subset validation \(and 1 more\) is missing: .*--missing=empty"),
        ({A: [], B: [], C: []}, {}, "no detections at all"),
        (GOOD, {"max_per_recording": 1}, "has 2 detections, more than --max_per_recording=1: .*--top=1"),
        (GOOD | {A: [row(start=11, end=12)]}, {"clip": True}, "11.000-12.000 s has no positive length within the rec"),
        # Every kind is in the line, whichever comes first.
        ({A: [row(start=-1), row("?")], "x": []}, {}, "also 2 missing .*1 detections with unknown .*1 .* negative"),
    ],
)
def test_faults_of_the_whole(files, results, rules, says):
    with pytest.raises(InputError, match=says) as error:
        checked(files(results), **rules)
    assert "\n" not in str(error.value)


def test_values_that_are_no_numbers_are_counted(files):
    bad = [row(), row(score=float("nan")), row(end=float("inf")), row(start=None)]
    with pytest.raises(InputError, match=rf"'{B}': detection 1 \(and 2 more\): .*finite"):
        checked(files(GOOD | {B: bad}))


def test_keys_twice(tmp_path, files):
    files(GOOD)
    (tmp_path / "D.json").write_text('{"results": {"a": [], "a": []}}')
    with pytest.raises(InputError, match="'a' appears twice"):
        checked((tmp_path / "D.json", tmp_path / "A.json"))


def test_what_rules_may_change(files):
    """Clipped to the recording, the best kept in the file's order, missing recordings empty: each is counted."""
    rows = [row(score=0.3), row(start=-1, end=11, score=0.9), row(score=0.1), row(end=3, score=0.3)]
    found = checked(files({A: rows}), clip=True, top=2, fill=True, max_per_recording=2)
    table = found.submission.table
    np.testing.assert_array_equal(table.segments, [[0, 10], [1, 3]])  # of equal scores the later, as in the evaluator
    assert (found.clipped, found.dropped, found.empty, found.added) == (1, 2, 2, 2)


def test_places_are_those_of_the_file(files):
    """Also where the file has other recordings first, and where only the best are kept."""
    with pytest.raises(InputError, match="first______': detection 1: unknown label 'x'"):
        checked(files({C: [], B: [row()], A: [row(), row("x")]}))
    with pytest.raises(InputError, match="detection 2: unknown label 'x'"):
        checked(files(GOOD | {A: [row(score=0.1), row(), row("x")]}), top=2)


@pytest.mark.parametrize(
    ("told", "given", "expected"),
    [
        ({}, None, {"used": False, "details": ""}),
        ({"used": True, "details": "K"}, None, {"used": True, "details": "K"}),
        ({"used": True, "details": "K"}, "", {"used": False, "details": ""}),
        ({"used": "yes"}, "Kinetics", {"used": True, "details": "Kinetics"}),
    ],
)
def test_external_data(files, told, given, expected):
    assert checked(files(GOOD, external_data=told), external_data=given).submission.external_data == expected


@pytest.mark.parametrize("told", [{"used": "yes"}, {"details": None}])
def test_external_data_of_another_form(files, told):
    with pytest.raises(InputError, match=r"D.json: external_data is not .*--external_data=TEXT"):
        checked(files(GOOD, external_data=told))


def test_testing_subset_tells_no_classes(files, tmp_path):
    """Labels are those of any subset, or a file's; without either there is nothing to check against."""
    (tmp_path / "K.txt").write_text("Golf\n\n  Long jump \n")
    (tmp_path / "A.json").write_text(json.dumps({"database": {A: entry("testing", 9)}}))
    detections, truth = files({A: [row("Golf")]})
    truth.write_text(json.dumps({"database": {A: entry("testing", 9), B: entry("training", 9, "Long jump")}}))
    with pytest.raises(InputError, match="unknown label 'Golf'"):
        checked((detections, truth), "testing")
    classes = read_classes(tmp_path / "K.txt")
    assert classes == ("Golf", "Long jump")
    assert len(checked((detections, truth), "test", classes=classes).submission.table) == 1
    truth.write_text(json.dumps({"database": {A: entry("testing", 9)}}))
    with pytest.raises(InputError, match=r"A.json: has no label in any subset: give --classes"):
        checked((detections, truth), "testing")
    for content, says in [(None, "cannot be read"), (b"\xff", "not text in UTF-8"), (b"\n", "has no label")]:
        if content is not None:
            (tmp_path / "L.txt").write_bytes(content)
        with pytest.raises(InputError, match=says):
            read_classes(tmp_path / "L.txt")


def submit(**options):
    arguments = [f"--{key}={value}" for key, value in options.items()]
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "launch.submit", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_command(files, tmp_path):
    detections, truth = files(GOOD)
    options = {"detections": detections, "annotations": truth, "subset": "val", "out": tmp_path / "S.json"}
    for change, says in [({"top": -1}, "--top"), ({"max_per_recording": 1}, "more than"), ({"missing": "x"}, "empty")]:
        refused = submit(**options | change)
        assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (2, "", 1)
        assert refused.stderr.startswith("launch.submit: error: ")
        assert says in refused.stderr
        assert not (tmp_path / "S.json").exists()
    files({A: GOOD[A], B: GOOD[B]})
    assert "is missing" in submit(**options).stderr
    done = submit(**options, external_data="Kinetics", top=1, missing="empty", version="V")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "validation: 3 recordings, 2 detections"
    assert "dropped: 1 detections" in done.stdout
    assert "external data: Kinetics" in done.stdout
    written = submission.read(tmp_path / "S.json")
    assert (written.version, written.external_data) == ("V", {"used": True, "details": "Kinetics"})
    assert written.table.score.tolist() == [0.9, 0.5]


@pytest.mark.slow
def test_all_validation_recordings_of_activitynet(tmp_path):
    """4,728 recordings of 100 detections each: checked, written and read back, in less than 20 seconds."""
    if not ACTIVITYNET.is_file():
        pytest.skip("the annotations of ActivityNet are not here")
    recordings = annotations.read(ACTIVITYNET)
    rng, count = np.random.default_rng(0), 100
    members = [r for r in recordings.values() if r.subset == "validation"]
    labels = sorted({label for r in recordings.values() for label in r.labels})
    times = np.sort(rng.uniform(0, min(r.duration for r in members), (count, 2)), axis=1).tolist()
    rows = [row(labels[rng.integers(200)], start, end, rng.random()) for start, end in times]
    (tmp_path / "D.json").write_text(json.dumps({"results": {r.id: rows for r in members}}))
    began = time.process_time()  # whatever else the machine does
    found = check(submission.read(tmp_path / "D.json"), annotations.read(ACTIVITYNET), "validation", Rules())
    submission.write(tmp_path / "S.json", found.submission)
    back = submission.read(tmp_path / "S.json")
    seconds = time.process_time() - began
    assert_equal(back, found.submission)
    assert (len(back.recordings), len(back.table)) == (4_728, 472_800)
    assert seconds < 20
