"""What detection with an exported model says of doubtful inputs, and what it refuses: strides and fractions."""

import json

import numpy as np
import pytest
from support.oracle import model_of

from tal_jax.commands.endings import one_line
from tal_jax.data import proposals
from tal_jax.deploy import detect as detections
from tal_jax.deploy.model import Recording
from tal_jax.deploy.strides import doubts
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import read, write
from tal_jax.windows import Framing
from tal_jax.words import allowed

FAR = "a snippet every 1.5 s, but the model was trained with one every 0.5 s, 3 times as long: is the stride right?"


@pytest.fixture
def model(monkeypatch):
    """A model of 0.5 s a snippet, which `detections` reads whatever the path."""
    model = model_of(Framing("window", 32))
    monkeypatch.setattr(detections, "Model", lambda path, runtime: model)
    return model


@pytest.fixture
def features(tmp_path):
    """A folder of two recordings, of 20 and 40 snippets."""
    (tmp_path / "features").mkdir()
    for name, count in (("a", 20), ("b", 40)):
        np.save(tmp_path / "features" / f"{name}.npy", np.ones((count, 2), np.float32))
    return tmp_path / "features"


def test_a_stride_far_from_the_trainings_is_said(model, features, capsys):
    detections.detect_files("E", [str(features)], stride=1.5)
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"2 of 2 files: {FAR}")
    for near in (None, 0.5, 0.6):
        detections.detect_files("E", [str(features)], stride=near)
        assert "stride" not in capsys.readouterr().err


def test_durations_that_contradict_the_stride_are_said(model, features, tmp_path, capsys):
    known = {"a": 10.0, "b": 200.0}  # seconds: 20 and 40 snippets of 0.5 s last 10 and 20 s
    database = {id: {"subset": "validation", "duration": s, "annotations": []} for id, s in known.items()}
    (tmp_path / "A.json").write_text(json.dumps({"database": database}))
    detections.detect_files("E", [str(features)], annotation_file=str(tmp_path / "A.json"))
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        "1 of 2 files: the known duration is more than 1.5 times as long as snippets x 0.5 s: is the stride right?"
    )


@pytest.mark.parametrize(
    ("mode", "stride", "duration", "says"),
    [
        ("window", 1.5, None, ["3 times as long"]),
        ("window", 0.1, None, ["5 times as short"]),
        ("window", 1.5, 10.0, ["3 times as long", "less than 1/1.5 of"]),
        ("window", None, 11.0, []),
        ("resize", 1.5, None, []),  # such a frame has no time scale of its own
        ("resize", 0.5, 100.0, ["more than 1.5 times"]),
    ],
)
def test_what_is_doubtful(mode, stride, duration, says):
    model = model_of(Framing(mode, 32))
    found = doubts(model, model.checked(Recording([np.zeros((20, 2))], "r", stride, duration)))
    assert len(found) == len(says)
    assert all(words in note for words, note in zip(says, found, strict=True))


def test_a_model_without_a_stride_has_nothing_to_compare():
    model = model_of(Framing("window", 32))
    model.stride = None
    assert doubts(model, model.checked(Recording([np.zeros((20, 2))], "r", 7.0))) == ()


@pytest.mark.parametrize(
    "name", ["two words", "Übung", "e\u0301", "日本語", "🏃", "\u200fx", "a\u202eb", "a\x1b[2J", "a\udcff"], ids=ascii
)
def test_files_of_any_name_are_detected_in_and_shown_so_that_no_terminal_obeys(model, tmp_path, name):
    np.save(tmp_path / f"{name}.npy", np.ones((20, 2), np.float32))
    found, _ = detections.detect("E", [str(tmp_path)])
    write(tmp_path / "D.json", found)
    assert read(tmp_path / "D.json").recordings == (name,)
    np.save(tmp_path / f"{name}.npy", np.full((20, 2), np.nan, np.float32))
    with pytest.raises(InputError) as error:
        detections.detect("E", [str(tmp_path)])
    shown = one_line(str(error.value))
    readable = all(map(allowed, name))
    assert (f"record {name}:" in shown) == readable
    assert all(map(allowed, shown))


def given(path, ends):
    proposals.write(path, [("a", np.array([[0.0, end] for end in ends]), np.ones(len(ends), np.float32))])
    return str(path)


def test_proposals_in_fractions_of_their_recording_are_refused(model, features, tmp_path):
    model.needs = ("proposals",)
    file = given(tmp_path / "p.parquet", [0.25, 0.75, 1.0])
    with pytest.raises(InputError, match=r"p\.parquet: record a: every segment ends by 1\.01, in recordings of 10 s"):
        detections.detect("E", [str(features / "a.npy")], proposal_file=file)
    seconds = given(tmp_path / "s.parquet", [2.5, 7.5, 10.0])
    found, _ = detections.detect("E", [str(features / "a.npy")], proposal_file=seconds)
    assert found.recordings == ("a",)
    images = given(tmp_path / "i.parquet", [50.0, 60, 70, 80, 90])
    with pytest.raises(InputError, match=r"i\.parquet: record a: 5 of 5 segments lie beyond the end .* 10 s"):
        detections.detect("E", [str(features / "a.npy")], proposal_file=images)
    # All of a short recording may end within its first second.
    short, _ = detections.detect("E", [str(features / "a.npy")], stride=0.1, proposal_file=file)
    assert short.recordings == ("a",)
