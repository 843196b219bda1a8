"""The file formats of features: every reader gives one array of two axes, and checks that the file is whole."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tal_jax.data import provenance
from tal_jax.errors import InputError
from tal_jax.prepare import npz, safe_pickle
from tal_jax.prepare.npy_header import NotNumbers, read_header
from tal_jax.prepare.pickle_arrays import array_of
from tal_jax.tables import channel_columns, hdf5

EXTENSIONS = (".npy", ".npz", ".csv", ".h5", ".hdf5", ".pt", ".pth", ".pkl")


@dataclass(frozen=True)
class File:
    """Where the features of one recording are."""

    path: str
    key: str | None = None  # the recording's name inside one HDF5 file for all
    crc32c: int | None = None  # of the features of an .npy file as they were encoded, where that is known

    def check_sum(self, where: str, array: np.ndarray) -> None:
        """Raises InputError: an array that was read is not what was encoded, though it may have its shape."""
        if self.crc32c is not None and provenance.sum_of(array) != self.crc32c:
            raise InputError(
                f"{where}: not the features that {provenance.NAME} says were encoded: encode the videos again, or "
                "insist with --accept=encoder"
            )


class Loaded(NamedTuple):
    """The array of a file, and what was told from the file."""

    array: np.ndarray  # of two axes
    oriented: bool = False  # the file itself says that they are [T, C]
    notes: tuple[str, ...] = ()  # what was assumed


def load(name: str, id: str, file: File) -> Loaded:
    """Reads the array of a file.

    Args:
      name: the name of the stream, for errors.
      id: the id of the recording, for errors.
      file: where the features are.

    Returns:
      The array, with leading axes of size 1 removed until two are left, and what was told from the file.

    Raises:
      InputError: the file is missing, damaged, other features than were encoded, or does not hold one array of numbers.
    """
    where = f"{file.path}: record {id}"
    extension = os.path.splitext(file.path)[1]
    notes: tuple[str, ...] = ()
    try:
        if extension == ".npy":
            npy_shape(id, file)
            value: Any = np.load(file.path, allow_pickle=False)
            file.check_sum(where, value)
        elif extension == ".npz":
            with open(file.path, "rb") as opened:
                value = npz.read(opened, lambda names: _only(where, names))
        elif extension == ".csv":
            value, notes = channel_columns.read(file.path, where)
        elif extension in (".h5", ".hdf5"):
            value = _read_h5(file, name, where)
        else:
            value = safe_pickle.read(file.path, where)
            if isinstance(value, dict) and {"slow_feature", "fast_feature"} <= set(value):
                return Loaded(_numbers(where, _slowfast(where, value)), True, ("slow and fast features side by side",))
            if isinstance(value, list):
                value = array_of(value)
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
    return Loaded(_numbers(where, value), False, notes)


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


def are_numbers(dtype: np.dtype) -> bool:
    """Whether features may be of this type: whole numbers, floating ones, and yes or no, which are 1 and 0."""
    return dtype.kind in "biuf" or dtype.name == "bfloat16"  # which is of kind V to NumPy


def _numbers(where: str, value: Any) -> np.ndarray:
    array = np.asarray(value) if isinstance(value, np.ndarray | list) else None
    if array is None or not are_numbers(array.dtype):
        raise _no_numbers(where, type(value).__name__ if array is None else f"an array of {array.dtype}")
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return array.reshape(_plane(where, array.shape))


def _no_numbers(where: str, found: str) -> InputError:
    return InputError(f"{where}: expected an array of numbers, found {found:.80}: save it as [T, C]")


def _only(where: str, names: Sequence[str]) -> str:
    if "features" in names or len(names) == 1:
        return "features" if "features" in names else names[0]
    listed = ", ".join(map(str, names)) or "no array"
    raise InputError(f"{where}: holds {listed:.100}: keep one array, or name the right one 'features'")


def _read_h5(file: File, name: str, where: str) -> np.ndarray:
    with hdf5.opened(file.path, name) as root:
        node = root if file.key is None else hdf5.member(root, file.key, where)
        if hasattr(node, "keys"):
            members = {key: hdf5.member(node, key, where) for key in node}
            node = members[_only(where, [key for key, item in members.items() if hasattr(item, "dtype")])]
        return hdf5.array(node, where)


def _slowfast(where: str, value: Mapping[str, Any]) -> np.ndarray:
    """HACS's SlowFast layout: slow [1, C1, T], fast [1, C2, T] -> [T, C1 + C2]."""
    slow, fast = (np.asarray(_numbers(where, value[key])) for key in ("slow_feature", "fast_feature"))
    if slow.shape[1] != fast.shape[1]:
        raise InputError(f"{where}: slow has {slow.shape[1]} snippets, fast {fast.shape[1]}: extract it again")
    return np.concatenate([slow, fast]).T
