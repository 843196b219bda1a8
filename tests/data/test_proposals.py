"""Proposal files and class scores: CSV, Parquet and JSON."""

import json
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tal_jax.data import class_scores, proposals
from tal_jax.errors import InputError


@pytest.mark.parametrize(
    "text",
    [
        "start,end,score\n1,2.5,0.5\n0,4,0.25\n",
        "xmin,xmax,score,xmin_score\n1,2.5,0.5,9\n\n0,4,0.25,9\n",
        'score, "t-start", t-end\n0.5,1,2.5\n0.25,0,4\n',
    ],
)
def test_csv(tmp_path, text):
    (tmp_path / "r.csv").write_text(text)
    segments, scores = proposals.read_csv(tmp_path / "r.csv")
    np.testing.assert_array_equal(segments, np.array([[1, 2.5], [0, 4]], np.float32), strict=True)
    np.testing.assert_array_equal(scores, np.array([0.5, 0.25], np.float32), strict=True)


def test_csv_without_rows(tmp_path):
    (tmp_path / "r.csv").write_text("start,end,score\n")
    segments, scores = proposals.read_csv(tmp_path / "r.csv")
    assert segments.shape == (0, 2)
    assert scores.shape == (0,)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "empty"),
        ("1,2,0.5\n", "column"),
        ("start,end\n1,2\n", "score"),
        ("start,end,score\n1,2\n", "3 names for 2 columns"),
        ("start,end,score\n1,x,1\n", r"row 2, column 2 \(end\): 'x' is not a number"),
        ("start,end,score\n1,2,0.5\n2,1,0.5\n", "proposal 2"),
        ("start,end,score\n1,1,0.5\n", "proposal 1"),
        ("start,end,score\n1,nan,0.5\n", "proposal 1"),
        ("start,end,score\n1,2,inf\n", "proposal 1"),
    ],
)
def test_csv_refuses(tmp_path, text, named):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(InputError, match=rf"r\.csv.*{named}"):
        proposals.read_csv(tmp_path / "r.csv")
    with pytest.raises(InputError, match="absent"):
        proposals.read_csv(tmp_path / "absent.csv")


rows = st.lists(
    st.tuples(st.floats(0, 50, width=32), st.floats(0.5, 50, width=32), st.sampled_from([0.25, 0.5, 0.75])), max_size=6
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), rows, max_size=6), st.randoms())
def test_round_trip(tmp_path_factory, content, random):
    path = tmp_path_factory.getbasetemp() / "p.parquet"
    items = [(id, [(s, s + d) for s, d, _ in p], [c for _, _, c in p]) for id, p in content.items()]
    items = [(id, np.reshape(segments, (-1, 2)), scores) for id, segments, scores in items]
    random.shuffle(items)
    proposals.write(path, items)
    got = proposals.read(path)
    assert set(got) == set(content)
    assert len(got) == len(content)
    for id, segments, scores in items:
        order = sorted(range(len(scores)), key=lambda i: -scores[i])  # stable
        np.testing.assert_array_equal(got[id][0], segments[order].astype(np.float32), strict=True)
        np.testing.assert_array_equal(got[id][1], np.array(scores, np.float32)[order], strict=True)
    table = pq.read_table(path)
    assert table.column_names == ["id", "start", "end", "score"]
    assert table["id"].to_pylist() == sorted(table["id"].to_pylist())


def test_files_of_others_may_be_unsorted_and_of_float64(tmp_path):
    table = pa.table({"id": ["b", "a", "b"], "start": [1.0, 2, 3], "end": [2.0, 3, 4], "score": [0.1, 0.2, 0.3]})
    pq.write_table(table, tmp_path / "proposals.parquet")
    got = proposals.read(tmp_path)  # the folder of a set
    assert list(got) == ["a", "b"]
    assert got["b"][0].tolist() == [[3, 4], [1, 2]]
    assert got["b"][1].dtype == np.float32
    assert "c" not in got


def test_refuses_damaged_files_and_wrong_rows(tmp_path):
    path = tmp_path / "p.parquet"
    with pytest.raises(InputError, match=r"p\.parquet"):
        proposals.read(path)
    path.write_bytes(b"PAR1noise")
    with pytest.raises(InputError, match=r"p\.parquet"):
        proposals.read(path)
    pq.write_table(pa.table({"id": ["a"], "start": [1.0]}), path)
    with pytest.raises(InputError, match="end"):
        proposals.read(path)
    pq.write_table(pa.table({"id": ["a"], "start": ["x"], "end": [2.0], "score": [1.0]}), path)
    with pytest.raises(InputError, match=r"p\.parquet"):
        proposals.read(path)
    pq.write_table(pa.table({"id": ["a", None], "start": [1.0] * 2, "end": [2.0] * 2, "score": [1.0] * 2}), path)
    with pytest.raises(InputError, match=r"p\.parquet"):
        proposals.read(path)
    path.unlink()
    for items in ([("a", [[2, 1]], [0.5])], [("a", [[1, 2]], [0.5])] * 2, [("a", [[1, 2]], [0.5, 0.6])]):
        with pytest.raises(InputError, match="record a"):
            proposals.write(path, items)
        assert list(tmp_path.iterdir()) == []


def test_reading_does_not_loop_over_rows(tmp_path):
    rng = np.random.default_rng(0)
    start = np.sort(rng.random((2000, 200)) * 100)
    proposals.write(
        tmp_path / "p.parquet",
        ((f"video_{i:05d}", np.stack([s, s + 1], 1), rng.random(200)) for i, s in enumerate(start)),
    )
    begin = time.process_time()
    got = proposals.read(tmp_path / "p.parquet")
    assert time.process_time() - begin < 1.5  # 0.1 s; a loop over 400,000 rows takes several
    assert len(got) == 2000


LABELS = ("run", "jump", "swim")


def test_class_scores_round_trip_reorders(tmp_path):
    path = tmp_path / "c.parquet"
    class_scores.write(path, ("swim", "run", "jump"), [("a", [1, 2, 3]), ("b", [4, 5, 6])])
    got = class_scores.read(path, LABELS)
    assert {id: scores.tolist() for id, scores in got.items()} == {"a": [2, 3, 1], "b": [5, 6, 4]}
    assert got["a"].dtype == np.float32
    for labels in (("run", "jump"), ("run", "jump", "walk"), ("run", "jump", "jump")):
        with pytest.raises(InputError, match=r"c\.parquet.*labels"):
            class_scores.read(path, labels)
    with pytest.raises(InputError, match="record a"):
        class_scores.write(path, LABELS, [("a", [1, 2])])
    class_scores.write(path, (), [])
    assert class_scores.read(path, ()) == {}


@pytest.mark.parametrize(
    "content",
    [
        {"results": {"a": [{"label": "swim", "score": 0.5}, {"label": "run", "score": "0.25"}]}},
        {"a": {"swim": 0.5, "run": 0.25}},
        {"class": ["swim", "run", "jump"], "results": {"a": [0.5, 0.25, 0]}},
        {"class": ["swim", "run", "jump"], "results": {"a": [[0.5, 0.25, 0]]}},
    ],
)
def test_class_scores_from_json(tmp_path, content):
    (tmp_path / "c.json").write_text(json.dumps(content))
    got = class_scores.read(tmp_path / "c.json", LABELS)
    np.testing.assert_array_equal(got["a"], np.array([0.25, 0, 0.5], np.float32), strict=True)


def test_negative_scores_are_logits(tmp_path, capsys):
    """As TCANet's score file has them."""
    content = {"class": ["swim", "run", "jump"], "results": {"a": [[2.0, -1.0, 0.0]], "b": [[1.0, 1.0, 1.0]]}}
    (tmp_path / "c.json").write_text(json.dumps(content))
    got = class_scores.read(tmp_path / "c.json", LABELS)
    expected = np.exp([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(got["a"], expected / expected.sum(), rtol=1e-6)
    np.testing.assert_allclose(got["b"], 1 / 3, rtol=1e-6)
    assert "c.json: some scores are negative, so they are taken for logits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "JSON"),
        ("[]", "results"),
        ('{"results": {"a": [{"label": "fly", "score": 1}]}}', "record a.*fly.*rename it"),
        ('{"a": {"swimm": 1}}', r"record a.*swimm.*did you mean 'swim'\?"),
        ('{"results": {"a": [{"label": "run"}]}}', "record a"),
        ('{"results": {"a": [{"label": "run", "score": NaN}]}}', "record a.*finite"),
        ('{"results": {"a": 3}}', "record a"),
        ('{"class": ["run", "jump"], "results": {"a": [1, 2]}}', "labels"),
        ('{"class": ["run", "jump", "swim"], "results": {"a": [1, 2]}}', "record a"),
        ('{"class": 3, "results": {}}', "class"),
    ],
)
def test_class_scores_refuse(tmp_path, content, named):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=rf"c\.json.*{named}"):
        class_scores.read(tmp_path / "c.json", LABELS)
    with pytest.raises(InputError, match="absent"):
        class_scores.read(tmp_path / "absent.json", LABELS)


@pytest.mark.parametrize("text", ["start;end;score\n1,5;2;0,5\n", "label\tend\tstart\tscore\nrun\t2\t1.5\t0.5\n"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_csv_of_other_dialects(tmp_path, text, encoding):
    (tmp_path / "r.csv").write_text(text, encoding=encoding)
    segments, scores = proposals.read_csv(tmp_path / "r.csv")
    assert (segments.tolist(), scores.tolist()) == ([[1.5, 2]], [0.5])


@pytest.mark.parametrize("kind", [pa.string(), pa.bool_(), pa.timestamp("s")])
def test_parquet_columns_of_other_types(tmp_path, kind):
    column = pa.array(["1", "2"]) if kind == pa.string() else pa.array([1, 0]).cast(kind)
    pq.write_table(
        pa.table({"id": ["a", "a"], "start": [0.0, 0.0], "end": [2.0, 2.0], "score": column}), tmp_path / "p.parquet"
    )
    with pytest.raises(InputError, match=r"p\.parquet: not a proposal file \(a column of"):
        proposals.read(tmp_path / "p.parquet")
    rows = pa.FixedSizeListArray.from_arrays(column, 2)
    table = pa.table({"id": ["a"], "scores": rows}).replace_schema_metadata({b"labels": b'["run", "swim"]'})
    pq.write_table(table, tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet: not a file of class scores \(a column of"):
        class_scores.read(tmp_path / "c.parquet", ("run", "swim"))


@pytest.mark.parametrize("score", [True, None, [0.5], 1e300])
def test_class_scores_that_are_no_numbers(tmp_path, score):
    for content in ({"a": {"swim": score}}, {"class": list(LABELS), "results": {"a": [0.5, 0.25, score]}}):
        (tmp_path / "c.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="record a"):
            class_scores.read(tmp_path / "c.json", LABELS)


@pytest.mark.parametrize("ids", [[b"r1", b"r2"], ["r1", None]], ids=["bytes", "missing"])
def test_ids_that_are_no_text(tmp_path, ids):
    """Bytes became "b'r1'", which no recording is called."""
    start = pa.array([0.0, 1.0])
    pq.write_table(
        pa.table({"id": ids, "start": start, "end": pa.array([2.0, 3.0]), "score": start}), tmp_path / "p.parquet"
    )
    with pytest.raises(InputError, match="not a proposal file"):
        proposals.read(tmp_path / "p.parquet")
    table = pa.table({"id": ids, "scores": pa.array([[0.5], [0.25]])})
    pq.write_table(table.replace_schema_metadata({b"labels": b'["a"]'}), tmp_path / "s.parquet")
    with pytest.raises(InputError, match="not a file of class scores"):
        class_scores.read(tmp_path / "s.parquet", ("a",))
