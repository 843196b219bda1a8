"""Names of residual networks' weights: torchvision, TSM, MMAction2, transformers."""

import re
from collections.abc import Callable

from tal_jax.encoders.names.layout import Layout, split
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


def layouts(network: ResNet) -> tuple[Layout, ...]:
    """Those of TSN, or of TSM, whose files say `net` where channels are moved.

    A TSM network can also read weights without that word, where --family says that they are meant.
    """

    def tsm(plain: Callable[[str], str]) -> Callable[[str], str]:

        def module(path: str) -> str:
            block, part, op = split(path)
            moved = part == "conv1" and op == "conv" and shifted(network.depths, int(block.rpartition("_")[2]))
            return f"{plain(path)}.net" if moved else plain(path)

        return module

    heads = ("fc", "new_fc")
    preprocessor = r"data_preprocessor\..*"
    plain = (
        Layout("torchvision", _torchvision, heads, ("", "base_model."), by_name_only=network.shift),
        Layout("mmaction2", _mmaction2, ("cls_head.fc_cls",), ignored=preprocessor, by_name_only=network.shift),
        Layout("transformers", _transformers, ("classifier.1",), ("", "resnet."), by_name_only=network.shift),
    )
    if not network.shift:
        return plain
    return (
        Layout("tsm", tsm(_torchvision), heads, ("base_model.", "")),
        Layout("mmaction2_tsm", tsm(_mmaction2), ("cls_head.fc_cls",), ignored=preprocessor),
        *plain,
    )
