"""Reads arrays and tensors out of pickles without running anything that the file asks for.

Reads plain pickles, and the zip and the legacy format of `torch.save`; PyTorch is not needed. The names of NumPy's and
PyTorch's array reconstruction lead to stand-ins, see `pickle_arrays`; everything else is refused, see `pickle_machine`.
"""

import io
import os
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

from ml_dtypes import bfloat16

from tal_jax.errors import InputError
from tal_jax.prepare import pickle_arrays, pickle_machine
from tal_jax.prepare.pickle_arrays import Storage, resolve, sizes
from tal_jax.prepare.pickle_machine import COPIES, Budget, Function, Refused

CONVERT = "convert it where you trust it, e.g. numpy.save('ID.npy', array)"
MAX_NESTING = 4  # a pickled tensor holds a torch.save stream: 2 levels
MAX_BYTES = 16 << 30  # of a file
AGAIN = f"write it again or {CONVERT}"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read(
    path: str | os.PathLike,
    where: str | None = None,
    beside_weights: bool = False,
    convert: str = CONVERT,
    again: str = AGAIN,
) -> Any:
    """Reads a `.pkl`, `.pt` or `.pth` file.

    Args:
      path: the file to read.
      where: the name of the file in errors, the path by default.
      beside_weights: objects that published weights have beside them, see `pickle_arrays.BESIDE_WEIGHTS`, are read as
        None; they are not made.
      convert: what to do about a file that holds other things, for errors.
      again: what to do about a damaged file, likewise.

    Returns:
      What was pickled, of dict, list, tuple, str, bytes, numbers, None, and read-only `np.ndarray` for arrays and
      tensors (bfloat16 as `ml_dtypes.bfloat16`).

    Raises:
      InputError: the file is missing, damaged, or wants anything but arrays and tensors; says what, and what to do.
    """
    where = where or str(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise Refused(f"it has {size} bytes")
            budget = Budget(bytes=COPIES * size, skipping=beside_weights)
            if zipfile.is_zipfile(file):
                return resolve(_read_zip(file, size, budget), beside_weights)
            file.seek(0)
            return resolve(_read_stream(file.read(size), budget), beside_weights)
    except Refused as e:
        raise InputError(f"{where}: refused, {e}; only arrays and tensors are read: {convert}") from e
    except OSError as e:
        raise InputError(f"{where}: cannot be read ({e.strerror or e}): check the file") from e
    except Exception as e:  # a damaged pickle can fail in any way
        text = "it refers to what it lacks" if isinstance(e, LookupError) else " ".join(f"{e!s:.100}".split())
        raise InputError(f"{where}: damaged or not a pickle of arrays ({text}): {again}") from e


def _run(file: BinaryIO, budget: Budget, nesting: int, persistent: Callable[[Any], Any] | None = None) -> Any:
    """One pickle; `nesting` counts the torch.save streams that it lies in."""
    names = pickle_arrays.admitted(budget)
    names["torch.storage._load_from_bytes"] = Function(lambda raw: _load_from_bytes(raw, budget, nesting + 1))
    return pickle_machine.run(file, names, budget, persistent, pickle_arrays.set_state)


def _read_stream(data: bytes, budget: Budget) -> Any:
    file = io.BytesIO(data)
    first = _run(file, budget, 0)
    return _read_legacy(file, budget, 0) if _is_magic(first) else first


def _load_from_bytes(raw: Any, budget: Budget, nesting: int) -> Any:
    if nesting >= MAX_NESTING:
        raise Refused("it nests torch.save streams too deeply")
    if isinstance(raw, str):
        raw = pickle_arrays.encode(budget, raw, "latin1")
    if not isinstance(raw, bytes | bytearray):
        raise Refused("it holds a stream that is no bytes")
    budget.copy(len(raw))
    file = io.BytesIO(raw)
    if not _is_magic(_run(file, budget, nesting)):
        raise ValueError("a nested stream is not one of torch.save")
    return _read_legacy(file, budget, nesting)


def _is_magic(value: Any) -> bool:
    return type(value) is int and value == LEGACY_MAGIC


def _read_legacy(file: BinaryIO, budget: Budget, nesting: int) -> Any:
    """Reads magic, version, system | object | storage keys | for every key: i64 count, bytes; from after the magic."""
    storages: dict[str, Storage] = {}

    def load(pid: Any) -> Storage:
        return storages.setdefault(_storage_key(pid), _storage(pid, little))

    _version = _run(file, budget, nesting)
    system = _run(file, budget, nesting)
    little = not isinstance(system, dict) or system.get("little_endian", True) is not False
    value = _run(file, budget, nesting, load)
    keys = _run(file, budget, nesting)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("the storages have no list of keys")
    for key in keys:
        storage = storages[key]
        (count,) = struct.unpack("<q" if little else ">q", file.read(8))
        size = storage.numel * storage.dtype.itemsize
        storage.data = file.read(size)
        if count != storage.numel or len(storage.data) != size:
            raise ValueError("a storage does not have the bytes that it announces")
    return value


def _read_zip(file: BinaryIO, size: int, budget: Budget) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        roots = [
            name.removesuffix("data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise Refused("the zip file is not one of torch.save")

        def content(name: str) -> bytes:
            info = entries[roots[0] + name]
            # torch.save stores without compression; anything else could unpack to any size
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise Refused("the zip file is compressed")
            if info.header_offset + info.file_size > size:
                raise ValueError(f"{name} reaches beyond the file")
            budget.copy(info.file_size)  # entries can lie over each other
            return archive.read(info)

        little = f"{roots[0]}byteorder" not in entries or content("byteorder") == b"little"
        storages: dict[str, Storage] = {}

        def load(pid: Any) -> Storage:
            key = _storage_key(pid)
            if key not in storages:
                storages[key] = _storage(pid, little)
                storages[key].data = content(f"data/{key}")
            return storages[key]

        return _run(io.BytesIO(content("data.pkl")), budget, 0, load)


def _storage_key(pid: Any) -> str:
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or not isinstance(pid[2], str) or not _is_storage(pid[0]):
        raise Refused("it refers to objects outside the file")
    return pid[2]


def _is_storage(word: Any) -> bool:
    return isinstance(word, str) and word == "storage"


def _storage(pid: Any, little: bool) -> Storage:
    kind, numel = pid[1], pid[4]
    if not isinstance(kind, pickle_arrays.Type) or kind.dtype is None or (len(pid) == 6 and pid[5] is not None):
        raise Refused("it holds an unusual kind of storage")
    dtype = kind.dtype
    if not little:
        if dtype == bfloat16:
            raise Refused("it holds big-endian bfloat16")
        dtype = dtype.newbyteorder(">")
    return Storage(dtype, sizes((numel,))[0])
