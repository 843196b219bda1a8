"""Headers of `.npy` files: all that NumPy writes for numbers, other writers' blanks, and sizes that are none."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tal_jax.prepare.npy_header import NotNumbers, read_header

KINDS = ["b1", "i1", "<i8", ">u2", "f2", "<f4", ">f8"]
GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"


def npy(header, version=1):
    text = header.encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text


def told(header, version=1):
    return read_header(io.BytesIO(npy(header, version)))


@given(
    hnp.arrays(st.sampled_from(KINDS), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0)),
    st.booleans(),
    st.sampled_from([(1, 0), (2, 0), (3, 0)]),
)
def test_what_numpy_writes(array, fortran, version):
    file = io.BytesIO()
    array = np.asfortranarray(array) if fortran and array.ndim else array
    np.lib.format.write_array(file, array, version)
    file.seek(0)
    header = read_header(file)
    assert (header.shape, header.dtype) == (array.shape, array.dtype)
    assert header.fortran == (array.flags.f_contiguous and not array.flags.c_contiguous)
    assert file.tell() == header.end
    assert header.size == array.nbytes == len(file.getvalue()) - header.end


@pytest.mark.parametrize(
    "header",
    [
        GOOD,
        GOOD.replace(", }", "}") + " " * 100 + "\n",
        GOOD.replace("'", '"'),
        GOOD.replace(" ", ""),
        "{'shape': (3L, 2L), 'descr': '<f4', 'fortran_order': False}",  # as Python 2 wrote
    ],
)
def test_what_others_write(header):
    assert told(header)[:3] == ((3, 2), False, np.dtype("<f4"))
    assert told(header, 2).shape == (3, 2)


@pytest.mark.parametrize(
    "sizes",
    [
        "(-3, -2)", "(-1, 0)", f"(0, {10**40})", f"(0, {10**17})", f"({10**15}, {10**15})", "(True, 2)", "(3.0, 2)",
        "(3, 2", "3", "(3)", "[3, 2]", "None", "(3,,2)", "((3, 2))", f"({'1,' * 40})", f"({'1,' * 4000})", "(1_0, 2)",
        "(03, 2)",
        "(0x3, 2)", "'(3, 2)'", "('3', 2)", f"({'9' * 5000},)", "(" * 2000, "-" * 2000 + "1",
    ],
)  # fmt: skip
def test_sizes_that_are_none(sizes):
    with pytest.raises(ValueError, match=r"header|sizes") as error:
        told(GOOD.replace("(3, 2)", sizes))
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, NotNumbers)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("'|O'", "Python objects"), ("'<U5'", "<U5"), ("'<c8'", "complex64"), ("'<M8[ns]'", "M8"),
        ("'S99999999'", "S9"),
        ("[('a', '<f4')]", "a"), ("'9f4'", "9f4"), ("'f4,f4'", "f4,f4"), ("'<f3'", "<f3"), ("'|V2'", "V2"), ("''", ""),
    ],
)  # fmt: skip
def test_what_is_no_number(kind, says):
    with pytest.raises(NotNumbers) as error:
        told(GOOD.replace("'<f4'", kind))
    assert says in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x93NUMPY", npy(GOOD)[:40], b"PK\3\4" + npy(GOOD), npy(GOOD, 4), npy(GOOD).replace(b"False", b"0"),
        b"\x93NUMPY\2\0\xff\xff\xff\xff" + GOOD.encode(), npy(GOOD.replace("shape", "descr")),
        npy(GOOD.replace(", }", ", 'more': 1}")), npy(GOOD.replace("'<f4'", "__import__('os')")),
        npy(GOOD.replace("'<f4'", "False").replace("': False", "': '<f4'")), npy("{" + " " * 3000), npy("\xff" * 60),
    ],
)  # fmt: skip
def test_what_is_no_header(data):
    with pytest.raises(ValueError, match=r"begin|header") as error:
        read_header(io.BytesIO(data))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200
