"""The CSV file of a figure."""

import csv
import io

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
