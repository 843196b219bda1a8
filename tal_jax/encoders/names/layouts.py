"""The released layouts that weights of a network are read from."""

import flax.linen as nn

from tal_jax.encoders.bn_inception import BNInception
from tal_jax.encoders.efficientnet_lite import EfficientNetLite
from tal_jax.encoders.i3d import I3D
from tal_jax.encoders.names import (
    bn_inception,
    efficientnet_lite,
    i3d,
    p3d,
    r2plus1d,
    resnest,
    resnet,
    slowfast,
    videomae,
    videoprism,
)
from tal_jax.encoders.names.layout import Layout
from tal_jax.encoders.p3d import P3D
from tal_jax.encoders.r2plus1d import R2Plus1D
from tal_jax.encoders.resnest import ResNeSt
from tal_jax.encoders.resnet import ResNet
from tal_jax.encoders.slowfast import SlowFast
from tal_jax.encoders.videomae import VideoMAE
from tal_jax.encoders.videoprism import VideoPrism


def layouts_of(network: nn.Module) -> tuple[Layout, ...]:
    """All layouts of a network's kind."""
    match network:
        case EfficientNetLite():
            return efficientnet_lite.LAYOUTS
        case ResNet():
            return resnet.layouts(network)
        case BNInception():
            return bn_inception.LAYOUTS
        case ResNeSt():
            return resnest.layouts(network)
        case SlowFast():
            return slowfast.layouts(network)
        case I3D():
            return i3d.LAYOUTS
        case R2Plus1D():
            return r2plus1d.LAYOUTS
        case P3D():
            return p3d.layouts(network)
        case VideoMAE():
            return videomae.LAYOUTS
        case VideoPrism():
            return videoprism.layouts(network)
    return ()  # somebody's own network: only files that were written here
