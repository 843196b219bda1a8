"""The composed sessions: every sample comes from the right person and exercise, and the annotation says where."""

import hashlib
import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tal_jax.data import annotations
from tal_jax.demo import encoders as watch_encoders
from tal_jax.demo import sessions as watch
from tal_jax.errors import InputError

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "../shared/data/watch_sessions"
SMALL = (12, 6)

if importlib.util.find_spec("seglearn") is None:
    pytest.skip("the demo's recordings come with the package seglearn, which is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def source():
    return watch.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("watch") / "data"
    watch.compose(out, sessions=SMALL)
    return out


@pytest.fixture(scope="module")
def whole(source):
    return watch.plan_sessions(source, 0, {"training": 300, "validation": 100})


def plain_features(samples):
    """[T, 48], one snippet at a time, the Fourier sums written out."""
    rows = []
    for i in range(len(samples) // 10):
        window = samples[np.clip(np.arange(10 * i - 5, 10 * i + 15), 0, len(samples) - 1)]
        phase = 2 * np.pi * np.arange(20) / 20
        oscillations = [
            np.hypot((window.T * np.cos(b * phase)).sum(1), (window.T * np.sin(b * phase)).sum(1)) for b in (1, 2, 3, 4)
        ]
        deviation = np.sqrt(((window - window.mean(0)) ** 2).mean(0))
        rows.append(np.concatenate([window.mean(0), deviation, window.min(0), window.max(0), *oscillations]))
    return np.array(rows)


def test_the_recordings_are_those_of_the_paper_and_the_package_is_not_imported():
    code = (
        "import sys; from tal_jax.demo import sessions; s = sessions.load(); assert 'seglearn' not in sys.modules;"
        "assert {x.shape[1] for x in s.signals} == {6} and len(s.signals) == 140;"
        "assert sorted(set(zip(s.subject.tolist(), s.exercise.tolist()))) == "
        "[(p, e) for p in range(1, 11) for e in range(7)]"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True)


def test_every_stretch_is_of_the_right_person_and_exercise(source, whole):
    exercises = {"action_0": {0, 1}, "action_1": {2, 3}, "action_2": {4, 5}, None: {6}}
    orders = set()
    for session in whole:
        people = {"training": {1, 2, 3, 4}, "validation": {8, 9, 10}}[session.subset]
        assert session.subject in people
        assert [part.label is None for part in session.parts] == [i % 2 == 0 for i in range(len(session.parts))]
        for part in session.parts:
            assert {int(source.exercise[s.source]) for s in part.stretches} == exercises[part.label]
            assert len(part.stretches) == (1 if part.label is None else 2)
            orders.add(tuple(int(source.exercise[s.source]) for s in part.stretches))
            seconds = part.samples / 50
            assert 3 <= seconds <= 10 if part.label is None else 6 <= seconds <= 15
            for stretch in part.stretches:
                assert source.subject[stretch.source] == session.subject
                assert stretch.first >= 0
                assert stretch.first + stretch.samples <= len(source.signals[stretch.source])
        assert 40 <= session.samples / 50 <= 90
        assert 2 <= len(session.parts) // 2 <= 5
        assert 1 <= len({part.label for part in session.parts} - {None}) <= 2
    assert orders == {(6,), (0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4)}


def test_no_person_is_in_two_splits(source, whole):
    subjects = {name: {s.subject for s in whole if s.subset == name} for name in ("training", "validation")}
    subjects["clips"] = {clip.subject for clip in watch.plan_clips(source, 0)}
    assert subjects == {"training": {1, 2, 3, 4}, "validation": {8, 9, 10}, "clips": {5, 6, 7}}
    assert all(not a & b for a, b in itertools.combinations(subjects.values(), 2))


def test_clips_are_single_exercises_that_do_not_overlap(source):
    clips = watch.plan_clips(source, 0)
    assert 135 <= len(clips) <= 165
    used: dict[int, int] = {}
    for clip in clips:
        ((part,),) = [clip.parts]
        ((stretch,),) = [part.stretches]
        assert part.label == f"action_{source.exercise[stretch.source] // 2}"
        assert source.subject[stretch.source] == clip.subject
        assert 6 <= clip.samples / 50 <= 10
        assert stretch.first == used.get(stretch.source, 0)
        used[stretch.source] = stretch.first + stretch.samples
        assert used[stretch.source] <= len(source.signals[stretch.source])
    assert set(used) == set(np.flatnonzero(np.isin(source.subject, (5, 6, 7)) & (source.exercise < 6)))


def test_files_hold_the_features_of_the_composition(source, folder):
    plan = watch.plan_sessions(source, 0, {"training": SMALL[0], "validation": SMALL[1]})
    raw = {session.id: plain_features(watch.signal(source, session)) for session in plan}
    training = np.concatenate([raw[s.id] for s in plan if s.subset == "training"])
    mean, std = training.mean(0), training.std(0)
    database = json.loads((folder / "annotations.json").read_text())["database"]
    assert set(database) == set(raw)
    assert {path.stem for path in (folder / "features").iterdir()} == set(raw)
    for session in plan:
        features = np.load(folder / "features" / f"{session.id}.npy")
        assert features.dtype == np.float16
        assert features.shape == (session.samples // 10, 48)
        np.testing.assert_allclose(features, (raw[session.id] - mean) / std, rtol=1e-3, atol=1e-4)
    clips = watch.plan_clips(source, 0)
    for clip in clips[::20]:
        features = np.load(folder / "clips" / f"{clip.id}.npy")
        expected = (plain_features(watch.signal(source, clip)) - mean) / std
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def test_annotations_agree_with_the_samples(source, folder):
    """At every annotated boundary the composed signal passes from one source recording to another."""
    recordings = annotations.read(folder / "annotations.json")
    plan = watch.plan_sessions(source, 0, {"training": SMALL[0], "validation": SMALL[1]})
    assert list(recordings) == [session.id for session in plan]
    for session in plan:
        samples, recording = watch.signal(source, session), recordings[session.id]
        assert (recording.subset, recording.duration) == (session.subset, len(samples) / 50)
        labels = [None] * len(samples)
        for instance in recording.instances:
            for i in range(round(instance.start * 50), round(instance.end * 50)):
                labels[i] = instance.label
        position = 0
        for part in session.parts:
            for s in part.stretches:
                assert set(labels[position : position + s.samples]) == {part.label}
                expected = source.signals[s.source][s.first : s.first + s.samples]
                np.testing.assert_array_equal(samples[position : position + s.samples], expected)
                position += s.samples
        assert position == len(samples)
    entry = json.loads((folder / "annotations.json").read_text())["database"]["watch_validation_0001"]
    assert entry["subject"] == 9


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    watch.compose(tmp_path / "again", sessions=SMALL)
    assert digest(tmp_path / "again") == digest(folder)
    watch.compose(tmp_path / "other", seed=1, sessions=SMALL)
    other = digest(tmp_path / "other")
    shared = set(other) & set(digest(folder))
    assert all(other[name] != digest(folder)[name] for name in shared)


def test_a_longer_data_set_begins_with_the_shorter_one(source, whole):
    short = watch.plan_sessions(source, 0, {"training": 5, "validation": 3})
    assert short == whole[:5] + whole[300:303]


def test_statistics_are_close_to_the_reference_composition(whole):
    if not SHARED.is_dir():
        pytest.skip("the reference composition is not here")
    reference = annotations.read(SHARED / "annotations.json")
    for subset in ("training", "validation"):
        there = [r for r in reference.values() if r.subset == subset]
        here = [s for s in whole if s.subset == subset]
        assert len(here) == len(there)
        assert np.mean([s.samples / 50 for s in here]) == pytest.approx(np.mean([r.duration for r in there]), rel=0.05)
        segments = [part.samples / 50 for s in here for part in s.parts if part.label]
        expected = [i.end - i.start for r in there for i in r.instances]
        assert len(segments) == pytest.approx(len(expected), rel=0.06)
        assert np.mean(segments) == pytest.approx(np.mean(expected), rel=0.03)
        single = np.mean([len({p.label for p in s.parts}) == 2 for s in here])
        assert single == pytest.approx(np.mean([len({i.label for i in r.instances}) == 1 for r in there]), abs=0.08)


def test_features_are_those_of_the_reference_clips(source):
    """Up to the standardisation, the features of a clip are found again in a clip that was composed elsewhere."""
    if not SHARED.is_dir():
        pytest.skip("the reference composition is not here")
    theirs = np.load(SHARED / "clips" / "clip_0000.npy").astype(np.float64)
    ours = watch_encoders.snippet_features(source.signals[0][:402])
    assert ours.shape == theirs.shape
    for column in range(48):
        assert np.corrcoef(ours[:, column], theirs[:, column])[0, 1] > 0.99999


def test_missing_or_foreign_package_is_an_error_with_the_remedy(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "seglearn" else find(name))
    with pytest.raises(InputError, match=r'pip install "tal_jax\[demo\]"'):
        watch.compose(tmp_path)
    (tmp_path / "seglearn" / "data").mkdir(parents=True)
    (tmp_path / "seglearn" / "data" / "watch_dataset.npy").write_bytes(b"something else")
    (tmp_path / "seglearn" / "__init__.py").touch()
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="not the recordings of seglearn"):
        watch.load()


def test_an_output_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another --out"):
        watch.compose(tmp_path / "file", sessions=(1, 1))


def test_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "launch.watch", f"--out={tmp_path / 'w'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "w" / "features").iterdir())) == 400
