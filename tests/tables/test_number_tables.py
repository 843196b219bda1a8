"""Text files of numbers: what each dialect says is read, and what may be read in two ways is refused."""

import math

import numpy as np
import pytest

from tal_jax.errors import InputError
from tal_jax.tables.number_tables import read


def table(tmp_path, content, **options):
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, f"{path}: record r", **options)


GRID = [[1.5, -2.0], [0.25, 4.0]]


@pytest.mark.parametrize(
    ("text", "names", "notes"),
    [
        ("1.5,-2\n.25,4\n", None, ()),
        ("\n1.5, -2\n\n+.25 ,4.\n", None, ()),
        ("15e-1,-2E0\n2.5e-1,4", None, ()),
        ("a,b\n1.5,-2\n0.25,4\n", ("a", "b"), ()),
        ('"a","b"\n"1.5","-2"\n"0.25","4"\n', ("a", "b"), ()),
        ('"a, in g","b"\n1.5,-2\n0.25,4\n', ("a, in g", "b"), ()),
        ("0,1\n1.5,-2.0\n0.25,4.0\n", ("0", "1"), ()),  # pandas, index=False
        ("1.5;-2\n0.25;4\n", None, ("semicolons between cells",)),
        ("1.5\t-2\n0.25\t4\n", None, ("tabs between cells",)),
        ("1.5  -2\n 0.25 4 \n", None, ("spaces between cells",)),
        ("a;b\n1,5;-2\n0,25;4\n", ("a", "b"), ("semicolons between cells", "decimal commas")),
        ("1,5\t-2,0\n0,25\t4\n", None, ("tabs between cells", "decimal commas")),
        ('"1,5","-2"\n"0,25","4"\n', None, ("decimal commas",)),
        ("sep=;\n1.5;-2\n0.25;4\n", None, ("semicolons between cells",)),
        ("1.5,-2,\n0.25,4,\n", None, ("a delimiter after the last cell of every row",)),
        ("a,b,\n1.5,-2,\n0.25,4,\n", ("a", "b"), ("a delimiter after the last cell of every row",)),
        ("# a,b\n1.5,-2\n0.25,4\n", ("a", "b"), ("comments above the rows left out",)),
        ("# made by hand\n1.5,-2\n0.25,4\n", None, ("comments above the rows left out",)),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_dialects(tmp_path, text, names, notes, end, encoding):
    found = table(tmp_path, text.replace("\n", end).encode(encoding))
    assert found.names == names
    np.testing.assert_array_equal(found.values, GRID, strict=True)
    assert found.notes == ((encoding.upper(),) if encoding[-2:] in ("16", "32") else ()) + notes


def test_one_row_and_one_column(tmp_path):
    assert table(tmp_path, "1.5\n2\n").values.tolist() == [[1.5], [2]]
    assert table(tmp_path, "acc x\n1\n2\n").values.tolist() == [[1], [2]]
    assert table(tmp_path, "1.5,2\n").values.tolist() == [[1.5, 2]]
    assert table(tmp_path, "0\n0.5\n1.0\n").names == ("0",)


def test_row_names_of_r(tmp_path):
    found = table(tmp_path, '"V1" "V2"\n"1" 1.5 -2\n"2" 0.25 4\n')
    assert found.names == ("", "V1", "V2")
    assert found.values.tolist() == [[1, 1.5, -2], [2, 0.25, 4]]


def test_an_index_without_a_name(tmp_path):
    found = table(tmp_path, ",0,1\n0,1.5,-2.0\n1,0.25,4.0\n")
    assert found.names == ("", "0", "1")


def test_text_is_allowed_where_the_reader_says_so(tmp_path):
    text = "when,x\n2024-01-01 00:00:00,1.5\n2024-01-01 00:00:01,2\n"
    found = table(tmp_path, text, texts=lambda names: [names.index("when")])
    assert math.isnan(found.values[0, 0])
    assert found.values[:, 1].tolist() == [1.5, 2]
    with pytest.raises(InputError, match=r"row 2, column 1 \(when\): '2024-01-01 00:00:00' is not a number"):
        table(tmp_path, text)


def test_what_is_not_finite_is_for_those_who_use_it(tmp_path):
    assert table(tmp_path, "nan,1\n-inf,1e999\n").values[1].tolist() == [-math.inf, math.inf]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("1.O,2\n3,4\n", r"row 1, column 1: '1\.O' is not a number"),
        ("1,2.O\n3,4\n", r"row 1, column 2: '2\.O' is not a number"),
        ("1.O\n2\n", r"row 1, column 1: '1\.O'"),
        ("1.O,2.O\n3,4\n", r"row 1, column 1: '1\.O'"),
        (",2\n3,4\n", "row 1, column 1: an empty cell"),
        ("1,,3\n3,4,5\n", "row 1, column 2: an empty cell"),
        ("1,2,\n3,4,5\n", "row 1, column 3: an empty cell"),
        ("a,,c\n3,4,5\n", "row 1, column 2: an empty cell"),
        ("NA,NA\n3,4\n", "row 1, column 1: 'NA'"),
        ("-,-\n3,4\n", "row 1, column 1: '-'"),
        ("a,b\n3,NA\n", r"row 2, column 2 \(b\): 'NA' is not a number"),
        ("a,b\nm,s\n3,4\n", r"row 2, column 1 \(a\): 'm'"),  # units below the names
        ("a,b\n\n3,x\n", r"row 3, column 2 \(b\): 'x'"),
        ("walking,2\n3,4\n", "row 1, column 1: 'walking'"),
        ("1_0,2\n3,4\n", "row 1, column 1: '1_0'"),
        ("1,2\n3,4_0\n", "row 2, column 2: '4_0'"),
        ("1,2\n3,\u0664\n", "row 2, column 2"),  # a digit of another script
        ("0x10,1\n2,3\n", "row 1, column 1: '0x10'"),
        ("1,2\n3\n", "row 1 has 2 cells, others 1"),
        ("1,2\n3,4\n5\n", "row 3 has 1 cells, others 2"),
        ("1,2\n3,4\n5,6,7\n", "row 3 has 3 cells, others 2"),
        ("a,b,c\n5\n6\n", "3 names for 1 columns"),
        ("a,b\n1,2,3\n1,2,3,4\n", "row 3 has 4 cells"),
        ('1,"2\n3,4\n', "row 3: unexpected end of data"),
        ("1.5;2,5\n", r"row 1, column 1: '1\.5' has a decimal point, and others a comma"),
        ("1,234;5,678\n9,012;3\n", "thousands, or decimal commas"),
        ("1.234,5;2\n", r"row 1, column 1: '1\.234,5' is not a number"),
        ("1,5;2;3,5,6\n1;2;3\n", "row 1, column 3"),
        ("1,2,3\n1.5,2,3\n", "row 1 counts from 1 to 3, is it a header"),
        ("0,1\n1,0\n", "row 1 is 0,1: a header that counts the columns, or numbers"),
        ("0\n1\n", "row 1 is 0: a header"),
        ("0,1,2\n", "row 1 is 0,1,2: a header"),
        ("", "empty"),
        ("\n \n", "empty"),
        ("# nothing\n", "empty"),
        ("#N/A;2,5;3\n1;2;3\n", "row 1 begins with #, as comments do, and goes on with numbers"),
        ("# a,b\n#N/A,2\n1,2\n", "row 2 begins with #"),
        ("a,b\n", "empty, a header and no numbers"),
        (b"1,2\n3,\xff\n", "not text in UTF-8"),
        ("1,2\n".encode("utf-16")[2:], "byte order mark"),
        ("\ufeff1,2\n".encode("utf-16-le")[:-1], "not text in UTF-16"),
    ],
)
def test_what_cannot_be_read_for_sure_is_refused(tmp_path, text, named):
    with pytest.raises(InputError, match=named) as error:
        table(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path}/x.csv: record r: ")
    assert "\n" not in str(error.value)
