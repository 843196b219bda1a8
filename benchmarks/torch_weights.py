"""The parameters of this project's models as state dicts of the PyTorch models beside this file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import Tensor

from tal_jax.convert.families import FAMILIES
from tal_jax.convert.rules import to_tensors

Tree = Mapping[str, Any]


def _tensor(x: Any) -> Tensor:
    return torch.from_numpy(np.array(x, np.float32))


def conv(name: str, params: Tree) -> dict[str, Tensor]:
    """A convolution [K, C / groups, O] -> `name`.weight [O, C / groups, K], `name`.bias."""
    return {f"{name}.weight": _tensor(params["kernel"]).permute(2, 1, 0), f"{name}.bias": _tensor(params["bias"])}


def dense(name: str, params: Tree) -> dict[str, Tensor]:
    """A fully connected layer [C, O] -> `name`.weight [O, C], `name`.bias."""
    return {f"{name}.weight": _tensor(params["kernel"]).T, f"{name}.bias": _tensor(params["bias"])}


def of_family(family: str, params: Tree) -> dict[str, Tensor]:
    """The weights of a published layout, without its constants."""
    flat = {"/".join(path): np.asarray(x) for path, x in flatten_dict(params).items()}
    return {name: _tensor(x) for name, x in to_tensors(FAMILIES[family].rules, flat).items()}


def tcanet(params: Tree) -> dict[str, Tensor]:
    """TCANet's state dict."""
    return of_family("tcanet_released", params)


def bmn(params: Tree) -> dict[str, Tensor]:
    """BMN's state dict, for maps laid out [duration, start]."""
    return of_family("bmn_mmaction2", params)


def mgfn(params: Tree, dilations: tuple[int, ...] = (1, 2, 3, 5)) -> dict[str, Tensor]:
    """MGFN's state dict."""
    state: dict[str, Tensor] = {}
    for stage in ("stage1", "stage2"):
        p = params["cascade"][stage]
        state |= conv(f"{stage}.base.0", p["base1"]) | conv(f"{stage}.base.2", p["base2"])
        for i, rate in enumerate(dilations):
            state |= conv(f"{stage}.branches.{i}", p[f"branch{rate}"]) | dense(f"{stage}.out.{i}", p[f"out{rate}"])
    for i in range(3):
        state |= conv(f"regressor.{2 * i}", params[f"regressor{i + 1}"])
    return state | conv("regressor.6", params["offsets"])
