"""Checkpoints of ActionFormer, TriDet and TemporalMaxer: the layout depends on the model's levels, blocks and heads."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tal_jax.convert.family import Family
from tal_jax.convert.rules import CONV1D, DENSE, Rule, layer, norm

ROW = (0, 2)  # [1, C, 1] of layer norms and scales
DEPTHWISE = {"axes": (1, 0), "single": (1,)}  # [C, 1, taps] -> [taps, C]


@dataclasses.dataclass(frozen=True)
class PyramidFamily(Family):
    """The authors' code; the published length that it pads to is T of the frame."""

    def fitted(self, model: Mapping[str, Any]) -> Family:
        """The layout of a model with these fields."""
        rules: list[Rule] = []
        for i in range(len(model["stream_hidden"])):
            rules += layer(f"backbone.proj.{i}.conv", f"stream{i}", DENSE, (-1,))
        for i in range(model["embedding_layers"]):
            rules.append(Rule(f"backbone.embd.{i}.conv.weight", (f"embedding{i}/conv/kernel",), CONV1D))
            rules += norm(f"backbone.embd_norm.{i}", f"embedding{i}/norm", ROW)
        block = _granularity if model["backbone"] == "granularity" else _attention
        for i in range(model["stem_blocks"]):
            rules += block(f"backbone.stem.{i}", f"stem{i}", False)
        for i in range(model["levels"] - 1 if model["backbone"] != "pool" else 0):
            rules += block(f"backbone.branch.{i}", f"branch{i + 1}", True)
        for i in range(model["levels"]):
            if model["neck"] == "layer":
                rules += norm(f"neck.fpn_norms.{i}", f"neck{i}", ROW)
            rules.append(Rule(f"reg_head.scale.{i}.scale", (f"heads/scale{i}",), ()))
        towers = {"cls_head": ("classes", "cls_head"), "reg_head": ("distances", "offset_head")}
        if model["bins"]:
            towers |= {"start_head": ("start", "cls_head"), "end_head": ("end", "cls_head")}
        for theirs, (ours, last) in towers.items():
            for i in range(model["head_layers"] - 1):
                rules.append(Rule(f"{theirs}.head.{i}.conv.weight", (f"heads/{ours}/layer{i}/conv/kernel",), CONV1D))
                rules += norm(f"{theirs}.norm.{i}", f"heads/{ours}/layer{i}/norm", ROW)
            rules += layer(f"{theirs}.{last}.conv", f"heads/{ours}/out", CONV1D)
        first = "stream0/kernel" if model["stream_hidden"] else self.first
        return dataclasses.replace(self, rules=tuple(rules), first=first)

    def sizes(self, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Levels, blocks and widths; windows, heads and positions stand in no checkpoint."""

        def count(pattern: str) -> int:
            found = (re.fullmatch(pattern, name) for name in tensors)
            return len({match[1] for match in found if match})

        def shape(name: str) -> tuple[int, ...]:
            return tensors[name].shape if name in tensors else ()

        sizes: dict[str, Any] = {
            "levels": count(r"reg_head\.scale\.(\d+)\.scale"),
            "stem_blocks": count(r"backbone\.stem\.(\d+)\..*"),
            "embedding_layers": count(r"backbone\.embd\.(\d+)\.conv\.weight"),
            "head_layers": count(r"cls_head\.head\.(\d+)\.conv\.weight") + 1,
            "neck": "layer" if "neck.fpn_norms.0.weight" in tensors else "group",
        }
        streams = count(r"backbone\.proj\.(\d+)\.conv\.weight")
        sizes["stream_hidden"] = tuple(shape(f"backbone.proj.{i}.conv.weight")[0] for i in range(streams))
        if embedding := shape("backbone.embd.0.conv.weight"):
            sizes["hidden"] = embedding[0]
        if head := shape("cls_head.head.0.conv.weight"):
            sizes |= {"head_hidden": head[0], "head_taps": head[2]}
        for name in ("backbone.stem.0.mlp.0.weight", "backbone.branch.0.mlp.0.weight"):
            if mlp := shape(name):
                sizes["ffn"] = mlp[0]
        if boundary := shape("start_head.cls_head.conv.weight"):
            sizes |= {"bins": shape("reg_head.offset_head.conv.weight")[0] // 2 - 1, "boundary_taps": boundary[2]}
        if local := shape("backbone.branch.0.convw.weight"):
            sizes["kernel"] = local[2]
        return sizes

    def channels(self, tensors: Mapping[str, np.ndarray]) -> int | None:
        """Channels of the features that a checkpoint is for, of all streams together."""
        names = [f"backbone.proj.{i}.conv.weight" for i in range(len(tensors))]
        found = [tensors[name].shape[1] for name in names if name in tensors and tensors[name].ndim == 3]
        first = tensors.get("backbone.embd.0.conv.weight")
        if found:
            return sum(found)
        return first.shape[1] if first is not None and first.ndim == 3 else None


def _attention(theirs: str, ours: str, halves: bool) -> list[Rule]:
    del halves
    rules = norm(f"{theirs}.ln1", f"{ours}/norm1", ROW) + norm(f"{theirs}.ln2", f"{ours}/norm2", ROW)
    for name in ("query", "key", "value"):
        rules.append(Rule(f"{theirs}.attn.{name}_conv.conv.weight", (f"{ours}/{name}_conv/kernel",), **DEPTHWISE))
        rules += norm(f"{theirs}.attn.{name}_norm", f"{ours}/{name}_norm", ROW)
        rules += layer(f"{theirs}.attn.{name}", f"{ours}/{name}", DENSE, (-1,))
    rules += layer(f"{theirs}.attn.proj", f"{ours}/out", DENSE, (-1,))
    rules += _feed_forward(theirs, ours, 3)
    rules.append(Rule(f"{theirs}.drop_path_attn.scale", (f"{ours}/path1/scale",), single=ROW))
    rules.append(Rule(f"{theirs}.drop_path_mlp.scale", (f"{ours}/path2/scale",), single=ROW))
    return rules


def _granularity(theirs: str, ours: str, halves: bool) -> list[Rule]:
    rules = norm(f"{theirs}.ln", f"{ours}/norm1", ROW) + norm(f"{theirs}.gn", f"{ours}/norm2")
    for name, module in (("psi", "psi"), ("fc", "fc"), ("convw", "conv_w"), ("convkw", "conv_kw")):
        rules += layer(f"{theirs}.{name}", f"{ours}/{module}", **DEPTHWISE)
    rules += layer(f"{theirs}.global_fc", f"{ours}/global_fc", **DEPTHWISE)
    rules += _feed_forward(theirs, ours, 2)
    if halves:
        rules.append(Rule(f"{theirs}.drop_path_out.scale", (f"{ours}/path1/scale",), single=ROW))
        rules.append(Rule(f"{theirs}.drop_path_mlp.scale", (f"{ours}/path2/scale",), single=ROW))
    return rules


def _feed_forward(theirs: str, ours: str, last: int) -> list[Rule]:
    rules = layer(f"{theirs}.mlp.0", f"{ours}/mlp/ffn_in", DENSE, (-1,))
    return rules + layer(f"{theirs}.mlp.{last}", f"{ours}/mlp/ffn_out", DENSE, (-1,))


def _family(name: str, **model: Any) -> PyramidFamily:
    return PyramidFamily(
        name, "actionformer", (), model, {}, {}, {}, as_long_as_frame="released", first="embedding0/conv/kernel"
    )


PYRAMIDS = (
    _family("actionformer", backbone="attention", bins=0),
    _family("tridet", backbone="granularity"),
    _family("temporalmaxer", backbone="pool", bins=0),
)
