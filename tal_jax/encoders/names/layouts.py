"""The released layouts that weights of a network are read from."""

import flax.linen as nn

from tal_jax.encoders.efficientnet_lite import EfficientNetLite
from tal_jax.encoders.names import efficientnet_lite, resnet, slowfast
from tal_jax.encoders.names.layout import Layout
from tal_jax.encoders.resnet import ResNet
from tal_jax.encoders.slowfast import SlowFast


def layouts_of(network: nn.Module) -> list[Layout]:
    """All layouts of a network's kind."""
    match network:
        case EfficientNetLite():
            return list(efficientnet_lite.LAYOUTS)
        case ResNet():
            return list(resnet.layouts(network))
        case SlowFast():
            return list(slowfast.layouts(network))
    raise NotImplementedError(f"no released layout of {type(network).__name__}")
