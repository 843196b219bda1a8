"""Names of SlowFast's weights: FAIR's PySlowFast and its Caffe2 files, PyTorchVideo, MMAction2, X-Temporal."""

import re
from collections.abc import Callable

from tal_jax.encoders.names.layout import Layout, split
from tal_jax.encoders.slowfast import SlowFast

CAFFE2 = {"kernel": "_w", "scale": "_bn_s", "bias": "_bn_b", "mean": "_bn_rm", "var": "_bn_riv"}


def _parsed(path: str) -> tuple[str, int, int, str, str]:
    """Pathway ("slow", "fast", "lateral"), stage (0 is the stem), block, brick ("" in stems, laterals), layer."""
    block, part, op = split(path) if "/" in path else (path, "", "conv")
    if block.endswith("_stem"):
        return block.removesuffix("_stem"), 0, 0, "", op
    pathway, stage, number = re.fullmatch(r"([a-z]+)(\d)(?:_(\d+))?", block).groups()  # type: ignore[union-attr]
    return pathway, int(stage), int(number or 0), part, op


def _letter(part: str) -> str:
    return "abc"[int(part[-1]) - 1]


def _pyslowfast(path: str) -> str:
    pathway, stage, block, part, op = _parsed(path)
    if pathway == "lateral":
        return f"s{stage + 1}_fuse.{'conv_f2s' if op == 'conv' else 'bn'}"
    number = {"slow": 0, "fast": 1}[pathway]
    if not stage:
        return f"s1.pathway{number}_stem.{op}"
    end = "" if op == "conv" else "_bn"
    brick = f"branch1{end}" if part == "shortcut" else f"branch2.{_letter(part)}{end}"
    return f"s{stage + 1}.pathway{number}_res{block}.{brick}"


def _caffe2(depths: tuple[int, ...]) -> Callable[[str], str]:
    def module(path: str) -> str:
        pathway, stage, block, part, op = _parsed(path)
        if pathway == "lateral":
            return f"t_res{stage + 1}_{depths[stage - 1] - 1}_branch2c_bn_subsample" if stage else "t_pool1_subsample"
        fast = "t_" if pathway == "fast" else ""
        if not stage:
            return f"{fast}conv1" if op == "conv" else f"{fast}res_conv1"
        return f"{fast}res{stage + 1}_{block}_branch{'1' if part == 'shortcut' else '2' + _letter(part)}"

    return module


def _pytorchvideo(path: str) -> str:
    pathway, stage, block, part, op = _parsed(path)
    op = {"conv": "conv", "bn": "norm"}[op]
    if pathway == "lateral":
        return f"blocks.{stage}.multipathway_fusion.{'conv_fast_to_slow' if op == 'conv' else 'norm'}"
    name = f"blocks.{stage}.multipathway_blocks.{0 if pathway == 'slow' else 1}"
    if not stage:
        return f"{name}.{op}"
    brick = f"branch1_{op}" if part == "shortcut" else f"branch2.{op}_{_letter(part)}"
    return f"{name}.res_blocks.{block}.{brick}"


def _mmaction2(path: str) -> str:
    pathway, stage, block, part, op = _parsed(path)
    if pathway == "lateral":
        return f"backbone.slow_path.{f'layer{stage}' if stage else 'conv1'}_lateral.conv"
    name = f"backbone.{pathway}_path"
    if not stage:
        return f"{name}.conv1.{op}"
    return f"{name}.layer{stage}.{block}.{part.replace('shortcut', 'downsample')}.{op}"


def _xtemporal(path: str) -> str:
    pathway, stage, block, part, op = _parsed(path)
    if pathway == "lateral":
        return f"lateral_res{stage + 1}" if stage else "lateral_p1"
    if not stage:
        return f"{pathway}_{op}1"
    name = f"{pathway}_res{stage + 1}.{block}"
    if part == "shortcut":
        return f"{name}.downsample.{0 if op == 'conv' else 1}"
    return f"{name}.{op}{part[-1]}"


def layouts(network: SlowFast) -> tuple[Layout, ...]:
    """Those of the code bases that build such a network."""
    if network.lateral_norm:
        return (
            Layout("pyslowfast", _pyslowfast, ("head.projection",)),
            Layout("pytorchvideo", _pytorchvideo, ("blocks.6.proj",)),
            Layout(
                "caffe2",
                _caffe2(network.depths),
                ("pred",),
                leaves=CAFFE2,
                dot="",
                head_leaves=("_w", "_b"),
                ignored=r".*_momentum|lr|model_iter",
            ),
        )
    if network.fast_first:
        return (Layout("mmaction2", _mmaction2, ("cls_head.fc_cls",), ignored=r"data_preprocessor\..*"),)
    return (Layout("xtemporal", _xtemporal, ("fc",)),)
