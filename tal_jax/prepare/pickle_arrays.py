"""Arrays and tensors of a pickle: stand-ins that take notes while it is interpreted, and are built and checked after.

Every size, stride and offset is checked against the bytes that are there. NumPy's own `__setstate__` is never reached:
it trusts the flags of a pickled dtype.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tal_jax.prepare.pickle_machine import Budget, Function, Refused, Skipped

AXES = 32
DEPTH = 100  # of lists, tuples and dicts in each other
EXPANDED = 20_000_000  # items, where one that is there several times counts each time, as it does to all who read it
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
# Classes and constants that files of published weights hold beside them: settings, optimizers, records of a training.
BESIDE_WEIGHTS = (
    "argparse.Namespace", "yacs.config.CfgNode", "fvcore.common.config.CfgNode", "addict.addict.Dict",
    "easydict.EasyDict", "collections.Counter", "pathlib.", "datetime.", "omegaconf.", "mmcv.utils.", "mmengine.",
    "torch.device", "torch.float", "torch.bfloat16", "torch.int", "torch.optim.",
)  # fmt: skip


@dataclass(eq=False)
class Type:
    """Stands for a class that is only ever passed as an argument: numpy.ndarray and the storage classes."""

    dtype: np.dtype | None = None


@dataclass(eq=False)
class Dtype:
    """Stands for a NumPy dtype: plain numbers only, so none of the flags of a pickled dtype matter."""

    dtype: np.dtype

    @classmethod
    def of(cls, code: Any, *_: Any) -> "Dtype":
        """As `numpy.dtype` is called in pickles."""
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248])", code):
            raise Refused(f"it holds an array of dtype {_said(code)}")
        return cls(np.dtype(code))

    def set_state(self, state: Any) -> None:
        """Takes the byte order, and no more."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if not isinstance(order, str) or order not in ("<", ">", "|", "="):
            raise Refused("it holds a dtype without a byte order")
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


@dataclass(eq=False)
class Array:
    """Stands for a NumPy array under reconstruction."""

    budget: Budget
    state: Any = None  # version, shape, dtype, whether Fortran's order, bytes

    def set_state(self, state: Any) -> None:
        """As `numpy.ndarray.__setstate__`."""
        self.state = state

    def build(self) -> np.ndarray:
        """The array, a view of the bytes."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise Refused("it holds an array without contents")
        _, shape, dtype, fortran, raw = self.state
        if isinstance(raw, str):  # Python 2 wrote bytes as str
            raw = encode(self.budget, raw, "latin1")
        if not isinstance(dtype, Dtype) or not isinstance(raw, bytes | bytearray):
            raise Refused("it holds an array of objects")
        return np.frombuffer(raw, dtype.dtype).reshape(sizes(shape), order="F" if fortran else "C")


@dataclass(eq=False)
class Storage:
    """Stands for the memory of a tensor; the legacy format delivers the bytes after the tensors."""

    dtype: np.dtype
    numel: int
    data: bytes | None = None


@dataclass(eq=False)
class Tensor:
    """Stands for a tensor: a strided view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> "Tensor":
        """As `torch._utils._rebuild_tensor` is called in pickles."""
        if not isinstance(storage, Storage):
            raise Refused("it holds a tensor without a storage")
        (start,) = sizes((offset,))
        tensor = cls(storage, start, sizes(shape), sizes(strides))
        if len(tensor.shape) != len(tensor.strides):
            raise ValueError("a tensor has as many strides as sizes")
        return tensor

    def build(self) -> np.ndarray:
        """The tensor, a read-only view: a file may hold any number of tensors over the same storage."""
        storage, count = self.storage, math.prod(self.shape)
        if storage.data is None or len(storage.data) != storage.numel * storage.dtype.itemsize:
            raise ValueError("a storage does not have the bytes that it announces")
        flat = np.frombuffer(storage.data, storage.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if count and (last >= storage.numel or count > storage.numel):
            raise ValueError("a tensor reaches beyond its storage")
        steps = tuple(s * flat.itemsize for s in self.strides)
        start = flat[self.offset :] if count else flat[:0]
        return np.lib.stride_tricks.as_strided(start, self.shape, steps, writeable=False)


def sizes(values: Any) -> tuple[int, ...]:
    """Sizes, strides or offsets. Raises ValueError where they are none."""
    if not isinstance(values, tuple | list) or len(values) > AXES:
        raise ValueError("sizes, strides and offsets are a short list")
    if not all(type(v) is int and 0 <= v < 2**62 for v in values):
        raise ValueError("sizes, strides and offsets are non-negative integers")
    return tuple(values)


def encode(budget: Budget, text: Any, encoding: Any) -> bytes:
    """The bytes that a pickle holds as text. Raises Refused where it holds them again and again."""
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
        raise Refused(f"it calls _codecs.encode for {_said(encoding)}")
    budget.copy(len(text))
    return text.encode("latin1")


def admitted(budget: Budget) -> dict[str, Any]:
    """What the names of NumPy's and PyTorch's reconstruction stand for; `budget` is that of the file."""

    def frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, *rest: Any) -> Array:
        if rest or not isinstance(order, str) or order not in ("C", "F"):
            raise Refused("it holds an array in an unusual memory order")
        return Array(budget, (1, shape, dtype, order == "F", raw))

    found: dict[str, Any] = {
        "numpy.ndarray": Type(),
        "numpy.dtype": Function(Dtype.of),
        "collections.OrderedDict": Function(lambda: {}),
        "_codecs.encode": Function(lambda text, encoding: encode(budget, text, encoding)),  # of protocols 0 to 2
        "__builtin__.bytes": Function(lambda: b""),
        "torch.Size": Function(sizes),
        "torch._utils._rebuild_tensor": Function(Tensor.of),
        "torch._utils._rebuild_tensor_v2": Function(Tensor.of),
        "torch._utils._rebuild_parameter": Function(lambda data, *_: data),
    }
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray._reconstruct"] = Function(lambda *_: Array(budget))
        found[f"{core}.multiarray.scalar"] = Function(lambda dtype, raw: Array(budget, (1, (), dtype, False, raw)))
        found[f"{core}.numeric._frombuffer"] = Function(frombuffer)
    found |= {f"torch.{name}": Type(np.dtype(dtype)) for name, dtype in STORAGES.items()}
    if not budget.skipping:
        return found
    found["collections.defaultdict"] = Function(lambda *_: {})
    return _AdmittedBesideWeights(found | {f"{module}.dict": Type() for module in ("builtins", "__builtin__")})


class _AdmittedBesideWeights(dict[str, Any]):
    """Also admits what published weights have beside them, as stand-ins."""

    def __missing__(self, name: str) -> Any:
        if name.startswith(BESIDE_WEIGHTS):
            return Function(lambda *_: Skipped(), makes_objects=True)
        raise KeyError(name)


def set_state(value: Any, state: Any) -> None:
    """What a pickle's BUILD comes to."""
    if isinstance(value, Skipped):
        return
    if not isinstance(value, Array | Dtype):
        raise Refused(f"it sets the state of {type(value).__name__.lower()}")
    value.set_state(state)


def resolve(value: Any, skipping: bool = False) -> Any:
    """Replaces the stand-ins in nested containers by arrays; what is there several times stays one object.

    With `skipping`, objects that are of no use become None.

    Raises:
      Refused: it holds anything else, is nested too deeply, holds itself, or shares containers until it has too many
        items for those who go through all of them.
    """
    done: dict[int, tuple[Any, int]] = {}  # the results, and how many items they have

    def walk(node: Any, depth: int) -> tuple[Any, int]:
        if id(node) in done:
            return done[id(node)]
        if depth > DEPTH:
            raise Refused("it is nested too deeply")
        result, count = node, 1
        if isinstance(node, Array | Tensor):
            result = node.build()
        elif isinstance(node, dict | list | tuple):
            parts = [walk(v, depth + 1) for v in (node.values() if isinstance(node, dict) else node)]
            count += sum(n for _, n in parts)
            items = [part for part, _ in parts]
            result = dict(zip(node, items, strict=True)) if isinstance(node, dict) else type(node)(items)
        elif skipping and isinstance(node, Skipped | Type | Function):
            result = None
        elif isinstance(node, Type | Dtype | Storage | Function):
            raise Refused(f"it holds a bare {type(node).__name__.lower()}")
        if count > EXPANDED:
            raise Refused("it holds the same lists again and again")
        done[id(node)] = result, count
        return result, count

    return walk(value, 0)[0]


def array_of(values: list[Any]) -> np.ndarray:
    """The array that nested lists of numbers, or of arrays, are; NumPy would make one of text as well.

    Raises:
      ValueError: they hold anything else, or lists of different lengths.
    """
    left: list[Any] = [values]
    while left:
        node = left.pop()
        kinds = set(map(type, node))
        if other := kinds - {int, float, bool, list, tuple, np.ndarray}:
            raise ValueError(f"a list of {other.pop().__name__}, and not of numbers")
        if kinds & {list, tuple}:
            left += [x for x in node if isinstance(x, list | tuple)]
    return np.asarray(values)


def _said(value: Any) -> str:
    """A value in an error: one of other types may be larger in print than in the file."""
    return f"{value[:40]!r}" if isinstance(value, str) else f"a {type(value).__name__.lower()}"
