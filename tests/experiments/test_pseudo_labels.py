"""Pseudo labels against a plain loop, and the command from files to files."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tal_jax.data import annotations
from tal_jax.data.annotations import Instance, Recording, layout
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import segment_table
from tal_jax.experiments.pseudo_labels import pseudo_labels

DEFAULTS = {"threshold": 0.6, "overlap": 0.2, "exclusive": True}


def recording(id, labels, subset="training"):
    return Recording(id, subset, 60.0, (Instance(1.0, 2.0, labels[0]),) if labels else (), tuple(labels))


def submitted(detections):
    """{id: [(label, score, start, end)]} as a submission."""
    labels = sorted({d[0] for rows in detections.values() for d in rows})
    rows = [(i, *d) for i, key in enumerate(detections) for d in detections[key]]
    table = segment_table(
        [r[0] for r in rows], [labels.index(r[1]) for r in rows], [r[3:] for r in rows], [r[2] for r in rows]
    )
    return Submission(tuple(detections), tuple(labels), table)


def by_hand(labels, rows, threshold, overlap, exclusive):
    rows = [r for r in rows if r[0] in labels and r[3] > r[2]]
    best = {label: max(r[1] for r in rows if r[0] == label) for label in {r[0] for r in rows}}
    rows = sorted(rows, key=lambda r: (-r[1] / best[r[0]], -r[1]))
    kept = []
    for label, score, start, end in rows:
        if score / best[label] < threshold:
            continue
        free = True
        for other, _, a, b in kept:
            common = max(0.0, min(end, b) - max(start, a))
            if (exclusive or other == label) and common / (end - start + b - a - common) > overlap:
                free = False
        if free:
            kept.append((label, score, start, end))
    return sorted((start, end, label) for label, _, start, end in kept)


DETECTION = st.tuples(
    st.sampled_from("abc"), st.integers(1, 1000).map(lambda n: n / 1000), st.integers(0, 20), st.integers(0, 20)
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(DETECTION, min_size=1, max_size=12, unique_by=lambda d: d[1]),
    st.sets(st.sampled_from("abc"), min_size=1),
    st.sampled_from([0.0, 0.35, 0.7, 1.0]),
    st.sampled_from([0.0, 0.21, 0.5]),
    st.booleans(),
)
def test_the_picks_are_those_of_a_plain_loop(rows, labels, threshold, overlap, exclusive):
    rows = [(label, score, float(a), float(b)) for label, score, a, b in rows]
    # equal relative scores (the best of two classes) are told apart by the score itself, and no two scores are equal
    expected = by_hand(labels, rows, threshold, overlap, exclusive)
    options = {"threshold": threshold, "overlap": overlap, "exclusive": exclusive}
    recordings = {"r": recording("r", sorted(labels))}
    if not expected:
        with pytest.raises(InputError, match="no detection of a training recording has one of its classes"):
            pseudo_labels(recordings, submitted({"r": rows}), "training", **options)
        return
    found = pseudo_labels(recordings, submitted({"r": rows}), "training", **options)
    assert [(i.start, i.end, i.label) for i in found.recordings["r"].instances] == expected
    assert found.segments == len(expected)
    assert found.recordings["r"].labels == tuple(sorted(labels))
    bare = labels - {label for _, _, label in expected}
    assert found.without == dict.fromkeys(sorted(bare), 1)


def test_only_the_subset_is_labelled_anew_and_its_own_segments_change_nothing():
    recordings = {
        "t": recording("t", ["a", "b"]),
        "u": recording("u", ["a"]),
        "w": recording("w", ["a"]),
        "n": recording("n", []),
        "v": recording("v", ["a"], subset="validation"),
    }
    detections = {"t": [("a", 0.9, 5, 9), ("a", 0.3, 20, 30), ("c", 1.0, 40, 50)], "v": [("a", 0.9, 5, 9)]}
    found = submitted({**detections, "w": [("c", 0.5, 1, 2)]})
    got = pseudo_labels(recordings, found, "train", **DEFAULTS)
    assert got.recordings["t"].instances == (Instance(5.0, 9.0, "a"),)
    assert got.recordings["v"] is recordings["v"]
    # Classes and no segment: they would be background throughout. Without a class, that is what they are.
    assert sorted(got.recordings) == ["n", "t", "v"]
    assert got.account() == [
        "training: 1 segments in 2 recordings",
        "left out: 2 recordings that got no segment, u first",
        "recordings with a class and no segment of it: b 1",
    ]
    moved = {**recordings, "t": Recording("t", "training", 60.0, (Instance(30.0, 31.0, "b"),), ("a", "b"))}
    assert pseudo_labels(moved, found, "training", **DEFAULTS).recordings == got.recordings


def test_the_layout_is_read_back(tmp_path):
    recordings = {
        "t": Recording("t", "training", None, (Instance(1.5, 2.25, "a"),), ("a", "b")),
        "v": recording("v", ["c"], subset="validation"),
    }
    submission.write_json(tmp_path / "a.json", layout(recordings.values(), "test"))
    assert annotations.read(tmp_path / "a.json") == recordings


def run(*flags):
    return subprocess.run([sys.executable, "-m", "launch.pseudo", *flags], capture_output=True, text=True, timeout=120)


def test_the_command_writes_annotations_and_refuses_what_is_not_of_the_subset(tmp_path):
    recordings = [recording("t", ["a"]), recording("v", ["a"], subset="validation")]
    submission.write_json(tmp_path / "a.json", layout(recordings, "test"))
    submission.write(tmp_path / "d.json", submitted({"t": [("a", 0.9, 5, 9), ("a", 0.6, 20, 30)]}))
    submission.write(tmp_path / "w.json", submitted({"v": [("a", 0.9, 5, 9)]}))
    flags = [f"--annotations={tmp_path / 'a.json'}", f"--out={tmp_path / 'p.json'}"]
    done = run(*flags, f"--detections={tmp_path / 'd.json'}")
    assert (done.returncode, done.stdout) == (0, "training: 2 segments in 1 recordings\n"), done.stderr
    written = json.loads((tmp_path / "p.json").read_text())["database"]
    assert [a["segment"] for a in written["t"]["annotations"]] == [[5.0, 9.0], [20.0, 30.0]]
    assert np.allclose(written["v"]["annotations"][0]["segment"], [1, 2])
    (tmp_path / "p.json").unlink()
    done = run(*flags, f"--detections={tmp_path / 'w.json'}")
    assert done.returncode == 2
    assert done.stderr.startswith("launch.pseudo: error: no detection of a training recording has one of its classes")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "p.json").exists()
