"""Names of P3D's weights: qijiezhao/pseudo-3d-pytorch."""

from tal_jax.encoders.names.layout import Layout, split
from tal_jax.encoders.p3d import P3D

_STEM = {"conv": "conv1_custom", "bn": "bn1"}
_PARTS = {"conv1": "1", "space": "2", "time": "3", "conv4": "4"}


def layouts(network: P3D) -> tuple[Layout, ...]:
    """The one there is."""
    of_images = f"layer{len(network.depths)}_"

    def module(path: str) -> str:
        block, part, op = split(path)
        if block == "stem":
            return _STEM[op]
        name = block.replace("_", ".")
        if part == "shortcut":
            return f"{name}.downsample.{0 if op == 'conv' else 1}"
        number = "_normal" if part == "space" and block.startswith(of_images) else _PARTS[part]
        return f"{name}.{op}{number}"

    return (Layout("p3d", module, ("fc",)),)
