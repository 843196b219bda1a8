"""Archives of arrays: what NumPy writes is read, and what unpacks to more than it has is not."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from tal_jax.errors import InputError
from tal_jax.prepare import npz
from tal_jax.prepare.feature_formats import File, load


def read(path):
    return load("x", "r", File(str(path)))[0]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes(tmp_path, save):
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    for array in (x, np.asfortranarray(x), x.astype(">f8"), x > 0, np.zeros((5000, 300), np.float32)):
        save(tmp_path / "x.npz", array)
        np.testing.assert_array_equal(read(tmp_path / "x.npz"), array)
    save(tmp_path / "x.npz", fps=np.array(25.0), features=x)
    np.testing.assert_array_equal(read(tmp_path / "x.npz"), x)


def packed(path, data, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", data)


def npy(shape, size, dtype="<f4"):
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(size)


def test_bombs(tmp_path, monkeypatch):
    """0.1 MB that would be 100 MB, and headers of more than the archive has."""
    path = tmp_path / "x.npz"
    monkeypatch.setattr(npz, "FREE", 1 << 20)
    packed(path, npy((25_000_000, 1), 100_000_000))
    for data in (None, npy((10**9, 1000), 100), npy((10, 1), 400), npy((-5, -2), 40), npy((4, 1), 16, "|O")):
        if data is not None:
            packed(path, data)
        assert path.stat().st_size < 200_000
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match=r"x\.npz: record r"):
                read(path)
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "value",
    [
        [["a"] * 20_000 + ["x" * 20_000]],  # 1.6 GB as NumPy's text
        [[1.0, "2"]],
        [[1.0, None]],
        [[1.0, b"2"]],
        [[1.0, {}]],
        [[1.0, 2.0], [3.0]],
        [[10**400, 1]],
    ],
    ids=["text", "a text", "none", "bytes", "dict", "ragged", "huge"],
)
def test_pickled_lists_that_are_no_arrays(tmp_path, value):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"x\.pkl: record r") as error:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)


def test_pickled_lists_of_numbers_and_of_arrays(tmp_path):
    path = tmp_path / "x.pkl"
    for value in ([[1, 2.5], [True, -3]], [np.ones(3), np.zeros(3)], [(1.0, 2.0)]):
        path.write_bytes(pickle.dumps(value))
        np.testing.assert_array_equal(read(path), np.array(value))
