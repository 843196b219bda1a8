"""The file of clip features: what is written is read, and nothing else is."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tal_jax.data import clip_features
from tal_jax.errors import InputError

ids = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=5, unique=True)


@given(ids, st.integers(1, 4), st.data())
def test_round_trip(tmp_path_factory, ids, width, data):
    path = tmp_path_factory.getbasetemp() / "k.parquet"
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = data.draw(hnp.arrays(np.float32, (len(ids), width), elements=finite))
    clip_features.write(path, zip(ids, values, strict=True))
    found = clip_features.read(path)
    assert list(found) == ids
    for id, row in zip(ids, values, strict=True):
        np.testing.assert_array_equal(found[id], row, strict=True)


def test_the_same_content_is_the_same_bytes_and_nothing_else_is_left(tmp_path):
    rows = [(f"c{i}", np.random.default_rng(i).normal(size=7)) for i in range(5)]
    for name in ("a", "b"):
        clip_features.write(tmp_path / name, iter(rows))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert {x.dtype for x in clip_features.read(tmp_path / "a").values()} == {np.dtype(np.float32)}


def test_lists_that_do_not_know_their_length_are_read_too(tmp_path):
    pq.write_table(pa.table({"features": [[1.0, 2.0], [3.0, 4.0]], "id": ["b", "a"]}), tmp_path / "k")
    found = clip_features.read(tmp_path / "k")
    assert {id: row.tolist() for id, row in found.items()} == {"b": [1, 2], "a": [3, 4]}


DAMAGED = {
    "no clips": ({"id": pa.array([], pa.string()), "features": pa.array([], pa.list_(pa.float32()))}, "every clip"),
    "no id": ({"clip": ["a"], "features": [[1.0]]}, "no column 'id'"),
    "no features": ({"id": ["a"], "feature": [[1.0]]}, "no column 'features'"),
    "numbered": ({"id": [1, 2], "features": [[1.0], [2.0]]}, "one id"),
    "nameless": ({"id": ["a", None], "features": [[1.0], [2.0]]}, "one id"),
    "twice": ({"id": ["a", "b", "a"], "features": [[1.0], [2.0], [3.0]]}, "clip a comes twice"),
    "no lists": ({"id": ["a"], "features": [1.0]}, "not a file of clip features"),
    "text": ({"id": ["a"], "features": [["one"]]}, "not a file of clip features"),
    "empty lists": ({"id": ["a"], "features": pa.array([[]], pa.list_(pa.float32()))}, "every clip"),
    "other lengths": ({"id": ["a", "b"], "features": [[1.0], [2.0, 3.0, 4.0]]}, "every clip"),
    "no list": ({"id": ["a", "b"], "features": [[1.0, 2.0], None]}, "every clip"),
    "no number": ({"id": ["a", "b"], "features": [[1.0, 2.0], [None, 1.0]]}, "clip b: not finite"),
    "nan": ({"id": ["a", "b"], "features": [[1.0, 2.0], [1.0, float("nan")]]}, "clip b: not finite"),
    "too large": ({"id": ["a"], "features": [[1e300]]}, "clip a: not finite"),
}


def refused(path, message):
    with pytest.raises(InputError, match=message) as error:
        clip_features.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused_in_one_line(tmp_path, case):
    columns, message = DAMAGED[case]
    pq.write_table(pa.table(columns), tmp_path / "k.parquet")
    refused(tmp_path / "k.parquet", message)


def test_files_that_are_no_parquet_are_refused_in_one_line(tmp_path):
    path = tmp_path / "k.parquet"
    refused(path, "cannot be read")
    path.write_bytes(b"")
    refused(path, "not a Parquet file")
    clip_features.write(path, [("a", np.ones(3))])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "not a Parquet file")
