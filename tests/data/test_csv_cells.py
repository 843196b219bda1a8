"""Cells of CSV files that a spreadsheet would take for formulas."""

import pytest

from tal_jax.data.csv_cells import cell


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =A1", "\t=A1", "\uff1dA1", "=", "-"]
)
def test_text_that_begins_as_a_formula_does(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "value", [-1.5, -3, 0, None, True, "-1.5", "+1", "-1e-3", "jump", "a=b", "", " ", "走る", "'=A1"]
)
def test_numbers_and_other_text_stay(value):
    assert cell(value) is value
