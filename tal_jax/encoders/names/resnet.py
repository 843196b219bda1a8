"""Names of residual networks' weights: torchvision, TSM, TIN, MMAction2, transformers."""

import functools
import re

from tal_jax.encoders.names.layout import Layout, Module, split
from tal_jax.encoders.resnet import ResNet, shifted


def _torchvision(path: str) -> str:
    block, part, op = split(path)
    if block == "stem":
        return {"conv": "conv1", "bn": "bn1"}[op]
    name = block.replace("_", ".")
    if part == "shortcut":
        return f"{name}.downsample.{0 if op == 'conv' else 1}"
    return f"{name}.{part if op == 'conv' else part.replace('conv', 'bn')}"


def _mmaction2(path: str) -> str:
    block, part, op = split(path)
    if block == "stem":
        return f"backbone.conv1.{op}"
    return f"backbone.{block.replace('_', '.')}.{part.replace('shortcut', 'downsample')}.{op}"


def _transformers(path: str) -> str:
    block, part, op = split(path)
    op = {"conv": "convolution", "bn": "normalization"}[op]
    if block == "stem":
        return f"embedder.embedder.{op}"
    stage, number = re.fullmatch(r"layer(\d)_(\d+)", block).groups()  # type: ignore[union-attr]
    name = f"encoder.stages.{int(stage) - 1}.layers.{number}"
    return f"{name}.shortcut.{op}" if part == "shortcut" else f"{name}.layer.{int(part[-1]) - 1}.{op}"


# TIN's layers by ours: within MMAction2's first convolutions, and within the original's.
_MMACTION2_TIN = {
    "offset_conv": "offset_net.conv", "offset_fc1": "offset_net.fc1", "offset_fc2": "offset_net.fc2",
    "weight_conv": "weight_net.conv",
}  # fmt: skip
_TIN = {
    "offset_conv": "biasnet.net.conv", "offset_fc1": "biasnet.net.fc", "offset_fc2": "biasnet.net.lastlayer",
    "weight_conv": "weightnet.net.lastlayer",
}  # fmt: skip


def _interlaced(plain: Module, parts: dict[str, str]) -> Module:
    """The names of TIN: a first convolution is the second of two, after what interlaces."""

    def module(path: str) -> str:
        if path.startswith("interlace"):
            block, _, part = path.removeprefix("interlace").partition("/")
            return f"{plain(f'layer{block}/conv1/conv')}.net1.{parts[part]}"
        first = path.endswith("/conv1/conv")
        return f"{plain(path)}.net2" if first else plain(path)

    return module


def layouts(network: ResNet) -> tuple[Layout, ...]:
    """Those of TSN, of TIN, or of TSM, whose files say `net` where channels are moved.

    A TSM network can also read weights without that word, where --family says that they are meant.
    """
    heads, prefixes = ("fc", "new_fc"), ("", "base_model.")
    mm = functools.partial(Layout, head=("cls_head.fc_cls",), ignored=r"data_preprocessor\..*")
    if network.interlaced is not None:
        return (
            Layout("tin", _interlaced(_torchvision, _TIN), heads, prefixes[::-1]),
            mm("mmaction2_tin", _interlaced(_mmaction2, _MMACTION2_TIN)),
        )
    plain = (
        Layout("torchvision", _torchvision, heads, prefixes, by_name_only=network.shift),
        mm("mmaction2", _mmaction2, by_name_only=network.shift),
        Layout("transformers", _transformers, ("classifier.1",), ("", "resnet."), by_name_only=network.shift),
    )
    if not network.shift:
        return plain
    return (
        Layout("tsm", moved_by_tsm(_torchvision, network.depths), heads, prefixes[::-1]),
        mm("mmaction2_tsm", moved_by_tsm(_mmaction2, network.depths)),
        *plain,
    )


def moved_by_tsm(plain: Module, depths: tuple[int, ...]) -> Module:
    """The names of TSM: the first convolutions before which it moves channels are `net` within what moves them."""

    def module(path: str) -> str:
        block, part, op = split(path)
        moved = part == "conv1" and op == "conv" and shifted(depths, int(block.rpartition("_")[2]))
        return f"{plain(path)}.net" if moved else plain(path)

    return module
