"""Files of PyTorch state dicts: .pth and the like through PyTorch's own reader of weights, or .safetensors."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors.numpy

from tal_jax.convert.rules import Tensors
from tal_jax.encoders.weight_files import read_safetensors
from tal_jax.errors import InputError

PICKLED = (".pth", ".pt", ".tar", ".ckpt")
SUFFIXES = (*PICKLED, ".safetensors")
_KEYS = ("state_dict_ema", "state_dict", "model_state")  # the average of parameters, where there is one, is evaluated
_PREFIX = "module."


def read(path: Path) -> Tensors:
    """The tensors of a checkpoint by name; those of half and double precision as float32.

    They may lie under one of `_KEYS`, the first of which counts, and their names may carry the prefix `module.`.

    Raises:
      InputError: no such file, another kind of file, one that holds more than weights, or something else than tensors.
    """
    _check_suffix(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file: give the checkpoint with --checkpoint=FILE")
    if path.suffix == ".safetensors":
        found = {name: _as_float32(x) for name, x in read_safetensors(path).items()}
    else:
        found = _read_pickled(path)
    tensors: Tensors = {}
    for name, x in found.items():
        name = name.removeprefix(_PREFIX)
        if name in tensors:
            raise InputError(f"{path}: {name} is there with and without the prefix {_PREFIX}: save one of them")
        tensors[name] = x
    return tensors


def _read_pickled(path: Path) -> Tensors:
    torch = _torch(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        remedy = (
            f"python -c \"import torch; x = torch.load('{path.name}', map_location='cpu', weights_only=False); "
            "torch.save(x.get('state_dict', x.get('model_state', x)), 'weights.pth')\""
        )
        raise InputError(
            f"{path}: holds other things than weights, or is no checkpoint; nothing but weights is loaded. Where you "
            f"trust its author, save them alone: {remedy}"
        ) from e
    # Whatever else is wrong with a file is raised as one of several types.
    except Exception as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0][:200]
        raise InputError(f"{path}: cannot be read ({reason}): copy or save it again") from e
    for key in _KEYS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"{path}: holds no state dict: a dictionary of tensors, or one under {' or '.join(_KEYS)}")
    others = [str(k) for k, x in loaded.items() if not isinstance(x, torch.Tensor)]
    if others:
        raise InputError(
            f"{path}: not only tensors ({listed(others)}): save model.state_dict(), alone or under {' or '.join(_KEYS)}"
        )
    found = {}
    for name, x in loaded.items():
        x = x.detach()
        if x.layout != torch.strided or x.is_quantized or x.is_complex():
            raise InputError(f"{path}: {name} is sparse, quantized or complex: save it as a dense float32 tensor")
        found[str(name)] = _as_float32((x.float() if x.dtype == torch.bfloat16 else x).numpy())
    return found


def _as_float32(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) if x.dtype in (np.float16, np.float64, ml_dtypes.bfloat16) else x


def write(path: Path, tensors: Tensors, suffix: str) -> None:
    """Writes a state dict in the format of files with that suffix. Raises InputError: PyTorch is missing."""
    if suffix == ".safetensors":
        safetensors.numpy.save_file(tensors, path)
        return
    torch = _torch(path)
    torch.save({name: torch.from_numpy(x) for name, x in tensors.items()}, path)


def check_new(path: Path) -> None:
    """Raises InputError where a checkpoint cannot be written under this name without overwriting."""
    _check_suffix(path)
    if path.exists():
        raise InputError(f"{path}: exists already: choose another name, or remove it")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}: make it first")
    if path.suffix in PICKLED:
        _torch(path)


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: checkpoints end in {', '.join(SUFFIXES)}")


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as e:
        raise InputError(
            f"{path}: needs PyTorch, the extra torch: pip install 'tal_jax[torch]', or use a .safetensors file"
        ) from e
    return torch


def listed(names: list[str], most: int = 8) -> str:
    """A list that stays readable: at most so many names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
