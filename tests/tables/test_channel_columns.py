"""Columns of feature files: channels are kept, what numbers or dates the rows is left out and said, or refused."""

import numpy as np
import pytest

from tal_jax.errors import InputError
from tal_jax.tables.channel_columns import read

X = np.random.default_rng(0).normal(size=(12, 2))
COUNT = range(12)


def found(tmp_path, names, *columns):
    rows = [",".join(names)] if names else []
    rows += [",".join(map(str, cells)) for cells in zip(*columns, strict=True)]
    path = tmp_path / "r.csv"
    path.write_text("\n".join(rows))
    return read(str(path), f"{path}: record r")


@pytest.mark.parametrize(
    ("names", "first", "note"),
    [
        (["", "a", "b"], COUNT, "column 1 (no name) left out, it numbers the rows"),
        (["", "0", "1"], COUNT, "column 1 (no name) left out, it numbers the rows"),
        (["", "a", "b"], range(1, 13), "column 1 (no name) left out, it numbers the rows"),
        (["", "a", "b"], range(500, 512), "column 1 (no name) left out, it numbers the rows"),  # of a slice
        (["Unnamed: 0", "a", "b"], COUNT, "column 1 (Unnamed: 0) left out, it numbers the rows"),
        (["frame_id", "a", "b"], range(0, 192, 16), "column 1 (frame_id) left out, it numbers the rows"),
        ([], COUNT, "column 1 left out, it numbers the rows"),
        ([], range(1, 13), "column 1 left out, it numbers the rows"),
        (
            ["timestamp", "a", "b"],
            [0.5 * i for i in COUNT],
            "column 1 (timestamp) left out, it is a time, in steps of about 0.5",
        ),
        (
            ["timestamp", "0", "1"],
            [0.5 * i for i in COUNT],
            "column 1 (timestamp) left out, it is a time, in steps of about 0.5",
        ),
        (["Time (s)", "a", "b"], [i // 2 for i in COUNT], "column 1 (Time (s)) left out, it is a time"),
        (
            ["seconds_elapsed", "a", "b"],
            COUNT,
            "column 1 (seconds_elapsed) left out, it is a time, in steps of about 1",
        ),
        (
            ["sensorTimestamp", "a", "b"],
            COUNT,
            "column 1 (sensorTimestamp) left out, it is a time, in steps of about 1",
        ),
        (["ts", "a", "b"], [20.3 * i for i in COUNT], "column 1 (ts) left out, it is a time, in steps of about 20"),
        (["date", "a", "b"], [f"2024-01-01 00:00:{i:02}" for i in COUNT], "column 1 (date) left out, it is a time"),
    ],
)
def test_columns_that_are_no_channels(tmp_path, names, first, note):
    x, notes = found(tmp_path, names, first, *X.T)
    np.testing.assert_array_equal(x, X)
    header = {"a": ("header of 2 names: a, b",), "0": ("header 0..1",)}[names[1]] if names else ()
    assert notes == (*header, note)


def test_two_of_them_and_in_the_middle(tmp_path):
    x, notes = found(tmp_path, ["", "a", "time", "b"], COUNT, X[:, 0], COUNT, X[:, 1])
    np.testing.assert_array_equal(x, X)
    assert notes[1:] == (
        "column 1 (no name) left out, it numbers the rows",
        "column 3 (time) left out, it is a time, in steps of about 1",
    )


@pytest.mark.parametrize("names", [["a", "b"], ["time_of_flight", "mic"], ["t", "h"], ["acc_x", "acc_y"], []])
def test_channels_are_kept(tmp_path, names):
    x, _ = found(tmp_path, names, *X.T)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("columns", [[[i + 0.5 for i in COUNT]], [COUNT, [2 * i for i in COUNT]]])
def test_ramps_without_a_name_are_channels_where_all_are(tmp_path, columns):
    assert found(tmp_path, [], *columns)[0].shape == (12, len(columns))


@pytest.mark.parametrize(
    ("names", "first", "named"),
    [
        (["", "a", "b"], X[:, 0], r"column 1 \(no name\) should number the rows, and does not"),
        (["id", "a", "b"], [7] * 12, r"column 1 \(id\) should number the rows"),
        (["timestamp", "a", "b"], X[:, 0], r"column 1 \(timestamp\) should be a time, and falls"),
        (["label", "a", "b"], [1] * 12, r"column 1 \(label\) looks like an annotation"),
        (["Activity", "a", "b"], [1] * 12, r"column 1 \(Activity\) looks like an annotation"),
        ([], [0.02 * i for i in COUNT], "column 1 rises from 0 to 0.22"),
        ([], [1.7e9 + 0.02 * i + 0.001 * (i % 3) for i in COUNT], "column 1 rises from 1700000000"),
    ],
)
def test_columns_that_are_not_what_they_are_called(tmp_path, names, first, named):
    with pytest.raises(InputError, match=named):
        found(tmp_path, names, first, *X.T)


def test_no_channel_is_left(tmp_path):
    with pytest.raises(InputError, match=r"no channel beside column 1 \(time\)"):
        found(tmp_path, ["time"], COUNT)
