"""The parameters of this project's models as state dicts of the PyTorch models beside this file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Tree = Mapping[str, Any]


def _tensor(x: Any) -> Tensor:
    return torch.from_numpy(np.array(x, np.float32))


def conv(name: str, params: Tree) -> dict[str, Tensor]:
    """A convolution [K, C / groups, O] -> `name`.weight [O, C / groups, K], `name`.bias."""
    return {f"{name}.weight": _tensor(params["kernel"]).permute(2, 1, 0), f"{name}.bias": _tensor(params["bias"])}


def dense(name: str, params: Tree) -> dict[str, Tensor]:
    """A fully connected layer [C, O] -> `name`.weight [O, C], `name`.bias."""
    return {f"{name}.weight": _tensor(params["kernel"]).T, f"{name}.bias": _tensor(params["bias"])}


def tcanet(params: Tree) -> dict[str, Tensor]:
    """TCANet's state dict."""
    state = conv("x_1d_b_f.0", params["base1"]) | conv("x_1d_b_f.2", params["base2"])
    for i in range(2):
        p, name = params[f"lgte{i + 1}"], f"lgtes.{i}"
        joined = {k: np.concatenate([p[n][k] for n in ("query", "key", "value")], axis=-1) for k in ("kernel", "bias")}
        state |= dense(f"{name}.in_proj", joined) | dense(f"{name}.out_proj", p["out"])
        state |= dense(f"{name}.linear1", p["ffn_in"]) | dense(f"{name}.linear2", p["ffn_out"])
        for norm in ("norm1", "norm2"):
            state |= {
                f"{name}.{norm}.weight": _tensor(p[norm]["scale"]),
                f"{name}.{norm}.bias": _tensor(p[norm]["bias"]),
            }
    for i in range(3):
        p, name = params[f"tbr{i + 1}"], f"tbrs.{i}"
        for side in ("start", "end"):
            for place, layer in ((0, "conv1"), (2, "conv2"), (4, "out")):
                state |= conv(f"{name}.{side}_reg_conv.{place}", p[f"{side}_{layer}"])
        state |= conv(f"{name}.reg_1d_b.0", p["segment_conv1"]) | conv(f"{name}.reg_1d_b.2", p["segment_conv2"])
        out = {"kernel": np.asarray(p["segment_out"]["kernel"])[None], "bias": p["segment_out"]["bias"]}
        state |= conv(f"{name}.reg_1d_o.0", p["segment_conv3"]) | conv(f"{name}.reg_1d_o.2", out)
    return state


def bmn(params: Tree) -> dict[str, Tensor]:
    """BMN's state dict."""
    state = conv("x_1d_b.0", params["base1"]) | conv("x_1d_b.2", params["base2"]) | conv("x_1d_p.0", params["proposal"])
    for side in ("start", "end"):
        state |= conv(f"x_1d_{side[0]}.0", params[f"{side}1"]) | conv(f"x_1d_{side[0]}.2", params[f"{side}2"])
    matching = _tensor(params["matching_kernel"]).permute(2, 1, 0)[..., None, None]  # [512, P, bins, 1, 1]
    state |= {"x_3d_p.0.weight": matching, "x_3d_p.0.bias": _tensor(params["matching_bias"])}
    for place, name in ((0, "map1"), (6, "map4")):
        layer = dense(f"x_2d_p.{place}", params[name])
        layer[f"x_2d_p.{place}.weight"] = layer[f"x_2d_p.{place}.weight"][..., None, None]
        state |= layer
    for place, name in ((2, "map2"), (4, "map3")):
        # Ours is laid out [start, duration], the published one [duration, start].
        weight = _tensor(params[name]["kernel"]).permute(3, 2, 1, 0)
        state |= {f"x_2d_p.{place}.weight": weight, f"x_2d_p.{place}.bias": _tensor(params[name]["bias"])}
    return state


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
