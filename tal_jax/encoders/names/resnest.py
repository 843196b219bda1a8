"""Names of ResNeSt's weights: zhanghang1989/ResNeSt and timm, and those that TSM would give a shifted one."""

from tal_jax.encoders.names.layout import Layout, split
from tal_jax.encoders.names.resnet import moved_by_tsm
from tal_jax.encoders.resnest import ResNeSt

_STEM = {"stem0": ("conv1.0", "conv1.1"), "stem1": ("conv1.3", "conv1.4"), "stem2": ("conv1.6", "bn1")}


def _module(path: str) -> str:
    block, part, op = split(path)
    if block in _STEM:
        return _STEM[block][op == "bn"]
    name = block.replace("_", ".")
    if part == "shortcut":
        return f"{name}.downsample.{1 if op == 'conv' else 2}"
    if part == "conv2":  # split attention
        return f"{name}.conv2.{op}"
    return f"{name}.{part if op == 'conv' else part.replace('conv', 'bn')}"


def layouts(network: ResNeSt) -> tuple[Layout, ...]:
    """That of TSN, or of TSM as well, by the same rules as for ResNet."""
    heads, prefixes = ("fc", "new_fc"), ("", "base_model.")
    plain = Layout("resnest", _module, heads, prefixes, by_name_only=network.shift)
    if not network.shift:
        return (plain,)
    return Layout("tsm", moved_by_tsm(_module, network.depths), heads, prefixes[::-1]), plain
