"""Files of published weights as tensors by name, without PyTorch, and without unpickling anything but arrays.

Reads `.pth`, `.pyth`, `.pt`, `.tar`, `.ckpt` (PyTorch), `.pkl` (Caffe2), `.safetensors` and `.npz`.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from tal_jax.errors import InputError
from tal_jax.prepare import safe_pickle

PICKLED = (".pth", ".pyth", ".pt", ".tar", ".ckpt", ".pkl")
SUFFIXES = (*PICKLED, ".safetensors", ".npz")
# Where files keep their weights among other things, the first that is there.
WITHIN = ("state_dict", "model_state", "model", "module", "blobs")
PREFIX = "module."  # of models that were trained on several devices
AGAIN = "download it again"
ALONE = "save the weights alone where you trust the file, torch.save(model.state_dict(), FILE)"
MAX_TENSORS = 100_000
MAX_BYTES = 16 << 30
_TYPES = {
    "BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32, "F64": np.float64, "BOOL": np.bool_,
    "U8": np.uint8, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
}  # fmt: skip


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file by name, in the types that they are stored in.

    What lies beside the weights (an optimizer's state, numbers, settings) is left out, as are counts of batches; the
    prefix `module.` is taken off.

    Raises:
      InputError: no such file, another kind of file, a damaged one, or one that holds anything else but weights.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder: give the file of weights in it")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: weights are read from files that end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file: give the weights with --weights=FILE")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: has more than {MAX_BYTES >> 30} GiB: take a file of the weights alone")
    try:
        found = _tensors(path)
    except InputError as e:
        if text := _as_text(path):  # a page of a server that had no weights, or what Git LFS leaves in their place
            raise InputError(f"{path}: a text that begins with {text!r:.60}, no weights: {AGAIN}") from e
        raise
    tensors: dict[str, np.ndarray] = {}
    for name, x in found.items():
        plain = name.removeprefix(PREFIX)
        if plain.endswith("num_batches_tracked"):
            continue
        if plain in tensors:
            raise InputError(f"{path}: {plain} is there with and without the prefix {PREFIX}: save one of them")
        tensors[plain] = x
    if not tensors:
        raise InputError(f"{path}: holds no weights: tensors by name, alone or under {', '.join(WITHIN)}")
    return tensors


def _tensors(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return _npz(path) if path.suffix == ".npz" else _pickled(path)


def _as_text(path: Path) -> str:
    """The beginning of a file that is text; "" of others."""
    with path.open("rb") as file:
        first = file.read(64)
    text = first.decode("latin-1")
    is_text = len(first) >= 8 and first.isascii() and all(c.isprintable() or c in "\t\r\n" for c in text)
    return " ".join(text.split()) if is_text else ""


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors file, as stored. Raises InputError: it is damaged, or of a type that none has."""
    try:
        rows = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as e:
        raise InputError(f"{path}: not a whole .safetensors file ({e}): copy or {AGAIN}") from e
    found = {}
    for name, row in rows:
        if row["dtype"] not in _TYPES:
            raise InputError(f"{path}: {name} is of type {row['dtype']}: save it as float32")
        found[name] = np.frombuffer(row["data"], _TYPES[row["dtype"]]).reshape(row["shape"])
    return found


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_TENSORS or sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise InputError(f"{path}: unpacks to more than {MAX_BYTES >> 30} GiB or {MAX_TENSORS} arrays")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except InputError:
        raise
    except Exception as e:  # a damaged archive can fail in any way
        text = " ".join(f"{e!s:.100}".split())
        raise InputError(f"{path}: damaged, or not an .npz file of arrays ({text}): {AGAIN}") from e


def _pickled(path: Path) -> dict[str, np.ndarray]:
    loaded = safe_pickle.read(path, beside_weights=True, convert=ALONE, again=AGAIN)
    for key in WITHIN:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise InputError(f"{path}: holds no tensors by name, alone or under {', '.join(WITHIN)}")
    return {str(name): x for name, x in loaded.items() if _is_weight(path, str(name), x)}


def _is_weight(path: Path, name: str, x: Any) -> bool:
    """Plain numbers and settings are none. Raises InputError: containers and text among the tensors."""
    if isinstance(x, np.ndarray):
        return True
    if x is None or isinstance(x, int | float | bool):
        return False
    raise InputError(f"{path}: {name} among the weights is no tensor but a {type(x).__name__}: save the weights alone")
