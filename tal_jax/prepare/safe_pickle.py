"""Reads arrays and tensors out of pickles without running anything that the file asks for.

`pickle.load` calls whatever a file names. Here the names of NumPy's and PyTorch's array reconstruction lead to
stand-ins that only take notes, everything else is refused, and the arrays are built afterwards with every size, stride
and offset checked against the bytes that are there. NumPy's own `__setstate__` is never reached either: it trusts the
flags of a pickled dtype. Reads plain pickles, and the zip and the legacy format of `torch.save`; PyTorch is not needed.
"""

import io
import math
import os
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tal_jax.errors import InputError

CONVERT = "convert it where you trust it, e.g. numpy.save('ID.npy', array)"
MAX_NESTING = 4  # a pickled tensor holds a torch.save stream: 2 levels
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
REFUSED_OPCODES = frozenset({"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "PERSID"})
STORAGES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def read(path: str | os.PathLike, where: str | None = None) -> Any:
    """Reads a `.pkl`, `.pt` or `.pth` file.

    Args:
      path: the file to read.
      where: the name of the file in errors, the path by default.

    Returns:
      What was pickled, of dict, list, tuple, str, bytes, numbers, None, and read-only `np.ndarray` for arrays and
      tensors (bfloat16 as `ml_dtypes.bfloat16`).

    Raises:
      InputError: the file is missing, damaged, or wants anything but arrays and tensors; says what, and how to convert.
    """
    where = where or str(path)
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        return _read_stream(Path(path).read_bytes(), nesting=0)
    except _Refused as e:
        raise InputError(f"{where}: refused, {e}; only arrays and tensors are read: {CONVERT}") from e
    except OSError as e:
        raise InputError(f"{where}: cannot be read ({e.strerror or e}): check the file") from e
    except Exception as e:  # a damaged pickle can fail in any way
        raise InputError(f"{where}: damaged or not a pickle of arrays ({e!s:.100}): write it again or {CONVERT}") from e


class _Refused(ValueError):
    """The file asks for something that is not an array or a tensor."""


class _Inert:
    """Base of all stand-ins: a pickle may set no state on them."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _Refused(f"it sets the state of {type(self).__name__}")


class _Function(_Inert):
    """Stands for an admitted function of NumPy or PyTorch, and calls one of this file."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]):
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


class _Type(_Inert):
    """Stands for a class that is only ever passed as an argument: numpy.ndarray and the storage classes."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: Any = None):
        self.dtype = None if dtype is None else np.dtype(dtype)


class _Dict(dict):
    """Stands for an OrderedDict, whose attributes (PyTorch keeps versions there) are of no interest."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype(_Inert):
    """Stands for a NumPy dtype: plain numbers only, so none of the flags of a pickled dtype matter."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248])", code):
            raise _Refused(f"it holds an array of dtype {code!r:.40}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise _Refused("it holds a dtype without a byte order")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(_Inert):
    """Stands for a NumPy array under reconstruction."""

    __slots__ = ("dtype", "fortran", "raw", "shape")

    def __init__(self, *_: Any):
        self.dtype, self.shape, self.fortran, self.raw = _Dtype("u1"), (0,), False, b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.raw = state

    def build(self) -> np.ndarray:
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw  # Python 2 wrote bytes as str
        if not isinstance(self.dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
            raise _Refused("it holds an array of objects")
        flat = np.frombuffer(raw, self.dtype.dtype)
        return flat.reshape(_sizes(self.shape), order="F" if self.fortran else "C")


class _Storage(_Inert):
    """Stands for the memory of a tensor; the legacy format delivers the bytes after the tensors."""

    __slots__ = ("data", "dtype", "numel")

    def __init__(self, dtype: np.dtype, numel: int, data: bytes | None = None):
        self.dtype, self.numel, self.data = dtype, numel, data


class _Tensor(_Inert):
    """Stands for a tensor: a strided view of a storage."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any):
        if not isinstance(storage, _Storage):
            raise _Refused("it holds a tensor without a storage")
        self.storage, self.shape, self.strides = storage, _sizes(shape), _sizes(strides)
        (self.offset,) = _sizes((offset,))
        if len(self.shape) != len(self.strides):
            raise ValueError("a tensor has as many strides as sizes")

    def build(self) -> np.ndarray:
        storage, count = self.storage, math.prod(self.shape)
        if storage.data is None or len(storage.data) != storage.numel * storage.dtype.itemsize:
            raise ValueError("a storage does not have the bytes that it announces")
        flat = np.frombuffer(storage.data, storage.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if count and (last >= storage.numel or count > storage.numel):
            raise ValueError("a tensor reaches beyond its storage")
        steps = tuple(s * flat.itemsize for s in self.strides)
        start = flat[self.offset :] if count else flat[:0]
        # a view: a file may hold any number of tensors over the same storage
        return np.lib.stride_tricks.as_strided(start, self.shape, steps, writeable=False)


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or not all(type(v) is int and 0 <= v < 2**62 for v in values):
        raise ValueError(f"sizes, strides and offsets are non-negative integers, not {values!r:.60}")
    return tuple(values)


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, *rest: Any) -> _Array:
    if rest or order not in ("C", "F"):
        raise _Refused("it holds an array in an unusual memory order")
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", raw))
    return array


def _scalar(dtype: Any, raw: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, (), dtype, False, raw))
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused(f"it calls _codecs.encode for {encoding!r:.40}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _parameter(data: Any, *_: Any) -> Any:
    return data


class _Unpickler(pickle.Unpickler):
    """Admits the names below and nothing else; `nesting` counts the torch.save streams inside pickles."""

    def __init__(self, data: bytes, nesting: int, persistent: Callable[[Any], Any] | None = None):
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._persistent = persistent
        admitted: dict[str, Any] = {
            "numpy.ndarray": _Type(),
            "numpy.dtype": _Function(_Dtype),
            "collections.OrderedDict": _Function(_Dict),
            "_codecs.encode": _Function(_encode),  # how protocols 0 to 2 store bytes
            "__builtin__.bytes": _Function(_no_bytes),
            "torch.Size": _Function(tuple),
            "torch._utils._rebuild_tensor": _Function(_Tensor),
            "torch._utils._rebuild_tensor_v2": _Function(_Tensor),
            "torch._utils._rebuild_parameter": _Function(_parameter),
            "torch.storage._load_from_bytes": _Function(lambda raw: _load_from_bytes(raw, nesting)),
        }
        for core in ("numpy.core", "numpy._core"):
            admitted[f"{core}.multiarray._reconstruct"] = _Function(_Array)
            admitted[f"{core}.multiarray.scalar"] = _Function(_scalar)
            admitted[f"{core}.numeric._frombuffer"] = _Function(_frombuffer)
        for name, dtype in STORAGES.items():
            admitted[f"torch.{name}"] = _Type(dtype)
        self._admitted = admitted

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"the pickle wants {f'{module}.{name}'!r:.80}") from None

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise _Refused("it refers to objects outside the file")
        return self._persistent(pid)


def _end_of_pickle(data: bytes) -> int:
    """Returns where the first pickle ends, after checking that nothing in it claims more memory than it has bytes."""
    end = 0
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name in REFUSED_OPCODES:
            raise _Refused(f"it uses the pickle instruction {opcode.name}")
        # the unpickler allocates its memo up to the highest index
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise _Refused("its memo is larger than the file")
        end = position or 0
    return end + 1


def _unpickle(data: bytes, nesting: int, persistent: Callable[[Any], Any] | None = None) -> tuple[Any, bytes]:
    end = _end_of_pickle(data)
    return _Unpickler(data[:end], nesting, persistent).load(), data[end:]


def _read_stream(data: bytes, nesting: int) -> Any:
    first, rest = _unpickle(data, nesting)
    return _resolve(_read_legacy(rest, nesting) if first == LEGACY_MAGIC else first)


def _load_from_bytes(raw: Any, nesting: int) -> Any:
    if nesting + 1 >= MAX_NESTING:
        raise _Refused("it nests torch.save streams too deeply")
    data = raw.encode("latin1") if isinstance(raw, str) else bytes(memoryview(raw))
    magic, rest = _unpickle(data, nesting + 1)
    if magic != LEGACY_MAGIC:
        raise ValueError("a nested stream is not one of torch.save")
    return _read_legacy(rest, nesting + 1)


def _read_legacy(data: bytes, nesting: int) -> Any:
    """magic, version, system | object | storage keys | for every key: i64 count, bytes."""
    storages: dict[str, _Storage] = {}
    _version, data = _unpickle(data, nesting)
    system, data = _unpickle(data, nesting)
    little = not isinstance(system, dict) or system.get("little_endian", True)
    value, data = _unpickle(data, nesting, lambda pid: storages.setdefault(_storage_key(pid), _storage(pid, little)))
    keys, data = _unpickle(data, nesting)
    for key in keys:
        storage = storages[key]
        (count,) = struct.unpack("<q" if little else ">q", data[:8])
        size = storage.numel * storage.dtype.itemsize
        if count != storage.numel or len(data) < 8 + size:
            raise ValueError("a storage does not have the bytes that it announces")
        storage.data, data = data[8 : 8 + size], data[8 + size :]
    return value


def _read_zip(path: str | os.PathLike) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        roots = [
            name.removesuffix("data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise _Refused("the zip file is not one of torch.save")

        def content(name: str) -> bytes:
            info = entries[roots[0] + name]
            # torch.save stores without compression; anything else could unpack to any size
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise _Refused("the zip file is compressed")
            return archive.read(info)

        little = f"{roots[0]}byteorder" not in entries or content("byteorder") == b"little"
        storages: dict[str, _Storage] = {}

        def load(pid: Any) -> _Storage:
            key = _storage_key(pid)
            if key not in storages:
                storages[key] = _storage(pid, little)
                storages[key].data = content(f"data/{key}")
            return storages[key]

        value, _ = _unpickle(content("data.pkl"), 0, load)
    return _resolve(value)


def _storage_key(pid: Any) -> str:
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or not isinstance(pid[2], str):
        raise _Refused("it refers to objects outside the file")
    return pid[2]


def _storage(pid: Any, little: bool) -> _Storage:
    kind, numel = pid[1], pid[4]
    if not isinstance(kind, _Type) or kind.dtype is None or (len(pid) == 6 and pid[5] is not None):
        raise _Refused("it holds an unusual kind of storage")
    dtype = kind.dtype
    if not little:
        if dtype == bfloat16:
            raise _Refused("it holds big-endian bfloat16")
        dtype = dtype.newbyteorder(">")
    return _Storage(dtype, _sizes((numel,))[0])


def _resolve(value: Any) -> Any:
    """Replaces the stand-ins in nested containers by arrays."""
    done: dict[int, Any] = {}  # a pickle can hold the same object exponentially often

    def walk(node: Any) -> Any:
        if id(node) in done:
            return done[id(node)]
        result = node
        if isinstance(node, _Array | _Tensor):
            result = node.build()
        elif isinstance(node, dict):
            result = {walk(k): walk(v) for k, v in node.items()}
        elif isinstance(node, list | tuple):
            result = type(node)(walk(v) for v in node)
        elif isinstance(node, _Inert | set | frozenset):
            raise _Refused(f"it holds a bare {type(node).__name__.strip('_').lower()}")
        done[id(node)] = result
        return result

    return walk(value)
