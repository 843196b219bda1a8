"""Detections files: what is written is read, and what is wrong is named."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import segment_table

GOOD = {"label": "run", "score": 0.5, "segment": [1.0, 2.0]}


def write(folder, results):
    path = folder / "d.json"
    path.write_text(results if isinstance(results, str) else json.dumps({"results": results}))
    return path


@hypothesis.given(st.data())
def test_what_is_written_is_read(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("d") / "d.json"
    number = st.floats(allow_nan=False, allow_infinity=False)
    text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
    ids = data.draw(st.lists(text, unique=True, max_size=4))
    row = st.tuples(st.integers(0, max(len(ids) - 1, 0)), st.integers(-1, 1), st.tuples(number, number), number)
    rows = data.draw(st.lists(row, max_size=8 if ids else 0))
    rows.sort(key=lambda r: r[0])
    table = segment_table(*([r[i] for r in rows] for i in range(4)))
    submission.write(path, Submission(tuple(ids), ("first", "$second"), table, "v", {"used": True}))
    back = submission.read(path)
    assert back.recordings == tuple(ids)
    assert (back.version, back.external_data) == ("v", {"used": True})
    names = [("first", "$second", None)[k] for k in table.label]
    assert [(*back.labels, None)[k] for k in back.table.label] == names
    np.testing.assert_array_equal(back.table.recording, table.recording)
    np.testing.assert_array_equal(back.table.segments, table.segments)
    np.testing.assert_array_equal(back.table.score, table.score)


def test_numbers_may_be_strings_and_labels_may_be_missing(tmp_path):
    path = write(tmp_path, {"v": [{"score": "0.5", "segment": ["1.5", 2]}], "empty": []})
    back = submission.read(path)
    assert back.recordings == ("v", "empty")
    assert (back.table.label.tolist(), back.table.segments.tolist()) == ([-1], [[1.5, 2.0]])


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", '"results"'),
        ('{"results": []}', '"results"'),
        ('{"results": {"v": [], "v": []}}', "'v' appears twice"),
        ({"v": GOOD}, "'v': expected a list"),
        ({"u": [], "v": [GOOD, 3]}, "'v': detection 1 is not"),
        ({"v": [{"label": "run", "segment": [1, 2]}]}, "'v': detection 0 is not"),
        ({"v": [{"label": "run", "score": 1}]}, "'v': detection 0 is not"),
        ({"v": [GOOD | {"segment": [1, 2, 3]}]}, "'v': detection 0 is not"),
        ({"v": [GOOD | {"label": ["run"]}]}, "'v': detection 0 is not"),
        ({"v": [GOOD | {"label": 3}]}, "label 3 is not text"),
        ({"u": [GOOD], "v": [GOOD, GOOD | {"score": float("nan")}]}, "'v': detection 1: .*finite"),
        ({"v": [GOOD | {"segment": [0, float("inf")]}]}, "'v': detection 0: .*finite"),
        ({"v": [GOOD | {"segment": "ab"}]}, "'v': detection 0: .*finite"),
        ({"v": [GOOD | {"score": None}]}, "'v': detection 0: .*finite"),
        ({"v": [GOOD | {"score": [1]}]}, "'v': detection 0: .*finite"),
        ({"v": [GOOD | {"score": 10**400}]}, "'v': detection 0: .*finite"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, results, says):
    path = write(tmp_path, results)
    with pytest.raises(InputError, match=says) as error:
        submission.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read .*: check --detections"):
        submission.read(tmp_path / "none.json")
