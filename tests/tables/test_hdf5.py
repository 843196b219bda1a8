"""HDF5: what was never written, lies elsewhere or is no number is refused, by name, in one line."""

import numpy as np
import pytest

from tal_jax.errors import InputError
from tal_jax.prepare import feature_files as features
from tal_jax.prepare.feature_formats import File

h5py = pytest.importorskip("h5py")
X = np.arange(40, dtype=np.float32).reshape(8, 5) + 1


def read(path, key=None):
    return features.read(features.Stream("x", 5, "TC"), "r", File(str(path), key))


def virtual(file, folder):
    layout = h5py.VirtualLayout((8, 5), "f4")
    layout[:] = h5py.VirtualSource(folder / "source.h5", "x", (8, 5))
    file.create_virtual_dataset("x", layout, fillvalue=0)


def chunks(file, folder):
    file.create_dataset("x", (8, 5), "f4", chunks=(2, 5))[:6] = X[:6]


def grown(file, folder):
    file.create_dataset("x", data=X[:6], chunks=(2, 5), maxshape=(None, 5))
    file["x"].resize((8, 5))


def filled(file, folder):
    file.create_dataset("x", (8, 5), "f4", chunks=(8, 5), fillvalue=-9999.0)[:6] = X[:6]


def fill_attribute(file, folder):
    file["x"] = np.where(np.arange(8)[:, None] == 3, 1e20, X).astype("f4")
    file["x"].attrs["_FillValue"] = np.float32(1e20)


def packed(file, folder):
    file["x"] = X.astype("i2")
    file["x"].attrs["scale_factor"] = 0.01


def external_link(file, folder):
    file["x"] = h5py.ExternalLink(str(folder / "source.h5"), "x")


def link_through(file, folder):
    file["there"] = h5py.ExternalLink(str(folder / "source.h5"), "/")
    file["x"] = h5py.SoftLink("/there/x")


CASES = {
    virtual: "a virtual data set, its numbers lie in other files",
    chunks: "1 of 4 chunks were never written",
    grown: "1 of 4 chunks were never written",
    filled: "row 6 holds -9999.0, its value for what is missing",
    fill_attribute: "row 3 holds 1",
    packed: r"its numbers are packed \(scale_factor\)",
    external_link: "x lies in another file",
    link_through: "x is a link to /there/x|there lies in another file",
    lambda f, d: f.create_dataset("x", (8, 5), "f4"): "it was never written",
    lambda f, d: f.create_dataset("x", (8, 5), "f4", external=[(str(d / "raw"), 0, 160)]): "external storage",
    lambda f, d: f.update(x=h5py.SoftLink("/absent")): "x is a link to /absent, which is not in this file",
    lambda f, d: f.create_dataset("x", (8, 5), "f4,f4"): "expected an array of numbers, found an array of",
    lambda f, d: f.create_dataset("x", data=[["a"] * 5] * 8, dtype=h5py.string_dtype()): "expected an array of numbers",
    lambda f, d: f.create_dataset("x", data=np.full((8, 5), b"1.5")): "expected an array of numbers",
    lambda f, d: f.create_dataset("x", data=X.astype(complex)): "found an array of complex",
    lambda f, d: f.create_dataset("x", data=h5py.Empty("f4")): "found nothing",
    lambda f, d: f.create_dataset("x", data=1.0): "found float64",
    lambda f, d: f.create_dataset("x", data=X[0]): r"shape \(5,\)",
}


@pytest.mark.parametrize(("write", "named"), CASES.items(), ids=range(len(CASES)))
def test_refused(tmp_path, write, named):
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["x"] = X
    (tmp_path / "raw").write_bytes(X.tobytes())
    with h5py.File(tmp_path / "r.h5", "w") as file:
        write(file, tmp_path)
    (tmp_path / "source.h5").rename(tmp_path / "moved.h5")
    for key in ("x", None):
        with pytest.raises(InputError, match=named) as error:
            read(tmp_path / "r.h5", key)
        assert "record r" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (3, 2)},
        {"chunks": (2, 5), "compression": "gzip"},
        {"dtype": "f8"},
        {"dtype": ">f4"},
        {"dtype": "i4"},
    ],
    ids=str,
)
def test_kept(tmp_path, options):
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file.create_dataset("group/x", data=X, **options)
        file["r"] = h5py.SoftLink("/group/x")  # within the file
    np.testing.assert_array_equal(read(tmp_path / "r.h5", "r"), X)
    np.testing.assert_array_equal(read(tmp_path / "r.h5", "group"), X)


def test_small_data_lie_in_the_header(tmp_path):
    with h5py.File(tmp_path / "r.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((8, 5))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, space, settings).write(h5py.h5s.ALL, h5py.h5s.ALL, X)
    np.testing.assert_array_equal(read(tmp_path / "r.h5"), X)


def test_zeros_are_numbers(tmp_path):
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file.create_dataset("x", data=0 * X, fillvalue=0)
    np.testing.assert_array_equal(read(tmp_path / "r.h5"), 0 * X)


def test_a_root_whose_names_cannot_be_read(tmp_path):
    """h5py ended in a RuntimeError."""
    path = tmp_path / "all.h5"
    with h5py.File(path, "w") as file:
        file["r"] = np.ones((4, 3), np.float32)
    data = path.read_bytes()
    assert data.count(b"SNOD") == 1  # the signature of the node that holds the names
    path.write_bytes(data.replace(b"SNOD", b"SNOT"))
    with pytest.raises(InputError, match=r"all\.h5: damaged, its names cannot be read"):
        features.find("x", str(path), ["r"])
