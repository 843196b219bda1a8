"""The file formats of features: every reader gives one array of two axes, and checks that the file is whole."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tal_jax.errors import InputError
from tal_jax.prepare import safe_pickle
from tal_jax.prepare.npy_header import NotNumbers, read_header

EXTENSIONS = (".npy", ".npz", ".csv", ".h5", ".hdf5", ".pt", ".pth", ".pkl")


@dataclass(frozen=True)
class File:
    """Where the features of one recording are."""

    path: str
    key: str | None = None  # the recording's name inside one HDF5 file for all


def load(name: str, id: str, file: File) -> tuple[np.ndarray, bool]:
    """Reads the array of a file.

    Args:
      name: the name of the stream, for errors.
      id: the id of the recording, for errors.
      file: where the features are.

    Returns:
      The array, with leading axes of size 1 removed until two are left, and whether the file itself says that they are
      [T, C].

    Raises:
      InputError: the file is missing, damaged, or does not hold one array of numbers.
    """
    where = f"{file.path}: record {id}"
    extension = os.path.splitext(file.path)[1]
    try:
        if extension == ".npy":
            npy_shape(id, file)
            value: Any = np.load(file.path, allow_pickle=False)
        elif extension == ".npz":
            # np.load leaves a file open that it was given by name and cannot read
            with open(file.path, "rb") as opened, np.load(opened, allow_pickle=False) as archive:
                value = archive[_only(where, list(archive))]
        elif extension == ".csv":
            value = _read_csv(file.path)
        elif extension in (".h5", ".hdf5"):
            value = _read_h5(file, name, where)
        else:
            value = safe_pickle.read(file.path, where)
            if isinstance(value, dict) and {"slow_feature", "fast_feature"} <= set(value):
                return _numbers(where, _slowfast(where, value)), True
            if isinstance(value, dict):
                value = value[_only(where, [key for key, item in value.items() if isinstance(item, np.ndarray)])]
    except InputError:
        raise
    except OSError as e:
        raise InputError(f"{where}: cannot be read ({e.strerror or e}): check the file") from e
    # Parsers of damaged files raise whatever they meet inside: NumPy a dozen types, those of a tokeniser too.
    except Exception as e:
        text = " ".join(f"{e!s:.100}".split())
        raise InputError(f"{where}: damaged or not a {extension} file of numbers ({text}): extract it again") from e
    return _numbers(where, value), False


def _plane(where: str, shape: tuple[int, ...]) -> tuple[int, int]:
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2:
        raise InputError(f"{where}: the array has shape {shape}: store it as [T, C]")
    return shape[0], shape[1]


def npy_shape(id: str, file: File) -> tuple[int, int]:
    """The two axes of a `.npy` file, from its header alone.

    Raises:
      InputError: the file is no such file, holds anything but numbers, or is shorter than its header says.
    """
    where = f"{file.path}: record {id}"
    try:
        with open(file.path, "rb") as stream:
            header = read_header(stream)
            size = os.fstat(stream.fileno()).st_size
    except OSError as e:
        raise InputError(f"{where}: cannot be read ({e.strerror}): check the file") from e
    except NotNumbers as e:
        raise InputError(f"{where}: holds {e}: save it as an array of numbers") from e
    except ValueError as e:
        raise InputError(f"{where}: not a .npy file ({e}): extract it again") from e
    expected = header.end + header.size
    if size < expected:
        raise InputError(f"{where}: truncated, {size} of {expected} bytes: copy or extract it again")
    return _plane(where, header.shape)


def _numbers(where: str, value: Any) -> np.ndarray:
    array = np.asarray(value) if isinstance(value, np.ndarray | list) else None
    # bfloat16 is of kind V to NumPy
    if array is None or (array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16"):
        found = type(value).__name__ if array is None else f"an array of {array.dtype}"
        raise InputError(f"{where}: expected an array of numbers, found {found}: save it as [T, C]")
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return array.reshape(_plane(where, array.shape))


def _only(where: str, names: Sequence[str]) -> str:
    if "features" in names or len(names) == 1:
        return "features" if "features" in names else names[0]
    listed = ", ".join(map(str, names)) or "no array"
    raise InputError(f"{where}: holds {listed:.100}: keep one array, or name the right one 'features'")


def _read_csv(path: str) -> np.ndarray:
    with open(path, encoding="utf-8") as file:
        first = file.readline()
        try:
            [float(cell) for cell in first.split(",")]
            header = 0
        except ValueError:
            header = 1
        file.seek(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data", category=UserWarning)
            return np.loadtxt(file, np.float32, comments=None, delimiter=",", skiprows=header, ndmin=2)


@contextlib.contextmanager
def h5(file: File, name: str) -> Iterator[Any]:
    """Opens an HDF5 file as a context. Raises InputError if it is none, or h5py is not installed."""
    try:
        import h5py
    except ImportError as e:
        raise InputError(f"{file.path}: stream {name} is HDF5: pip install 'tal_jax[hdf5]', or convert to .npy") from e
    try:
        opened = h5py.File(file.path, "r")
    except OSError as e:
        raise InputError(f"{file.path}: not a readable HDF5 file ({e!s:.80}): extract it again") from e
    with opened:
        yield opened


def _read_h5(file: File, name: str, where: str) -> np.ndarray:
    with h5(file, name) as opened:
        node = opened if file.key is None else opened[file.key]
        if hasattr(node, "keys"):
            node = node[_only(where, [key for key in node if hasattr(node[key], "dtype")])]
        return node[()]


def _slowfast(where: str, value: Mapping[str, Any]) -> np.ndarray:
    """HACS's SlowFast layout: slow [1, C1, T], fast [1, C2, T] -> [T, C1 + C2]."""
    slow, fast = (np.asarray(_numbers(where, value[key])) for key in ("slow_feature", "fast_feature"))
    if slow.shape[1] != fast.shape[1]:
        raise InputError(f"{where}: slow has {slow.shape[1]} snippets, fast {fast.shape[1]}: extract it again")
    return np.concatenate([slow, fast]).T
