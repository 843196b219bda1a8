"""The released layouts that weights of a network are read from."""

import flax.linen as nn

from tal_jax.encoders.efficientnet_lite import EfficientNetLite
from tal_jax.encoders.names import efficientnet_lite
from tal_jax.encoders.names.layout import Layout


def layouts_of(network: nn.Module) -> list[Layout]:
    """All layouts of a network's kind."""
    match network:
        case EfficientNetLite():
            return list(efficientnet_lite.LAYOUTS)
    raise NotImplementedError(f"no released layout of {type(network).__name__}")
