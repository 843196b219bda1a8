"""Names of EfficientNet-Lite's weights: those of the PyTorch ports of EfficientNet, lukemelas/EfficientNet-PyTorch."""

from tal_jax.encoders.names.layout import Layout

_PARTS = {
    "expand/conv": "_expand_conv", "expand/bn": "_bn0", "depthwise/conv": "_depthwise_conv", "depthwise/bn": "_bn1",
    "project/conv": "_project_conv", "project/bn": "_bn2",
}  # fmt: skip
_ENDS = {"stem/conv": "_conv_stem", "stem/bn": "_bn0", "top/conv": "_conv_head", "top/bn": "_bn1"}


def _module(path: str) -> str:
    if path in _ENDS:
        return _ENDS[path]
    block, _, part = path.partition("/")
    return f"_blocks.{block.removeprefix('block')}.{_PARTS[part]}"


LAYOUTS = (Layout("efficientnet_pytorch", _module, head=("_fc",)),)
