"""The CSV file of a figure."""

import csv
import io
import json

import pytest

from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files
from tal_jax.report.figure import Figure


def test_no_cell_is_a_formula_and_numbers_are_numbers():
    rows = [
        {"class": '=HYPERLINK("http://x","y")', "ap": -1.5, "none": None, "=x": "-2"},
        {"class": "走る, \n", "ap": 3, "none": None, "=x": "@a"},
    ]
    text = Figure("name", "", "", "", {}, rows).csv()
    assert list(csv.reader(io.StringIO(text))) == [
        ["class", "ap", "none", "'=x"],
        ['\'=HYPERLINK("http://x","y")', "-1.5", "", "-2"],
        ["走る, \n", "3", "", "'@a"],
    ]
    assert Figure("name", "", "", "", {}, []).csv() == "\n"


@pytest.mark.parametrize("label", ["a\x1b[2Jb", "a\u202eb", "a\nb"])
def test_labels_that_nobody_can_read_never_reach_a_page(tmp_path, label):
    path = tmp_path / "d.json"
    path.write_text(json.dumps({"results": {"v": [{"label": label, "score": 0.5, "segment": [1, 5]}]}}))
    with pytest.raises(InputError, match="is not a line of text"):
        detection_files.read(path)
