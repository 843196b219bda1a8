"""One entry of the catalogue, and what entries of several families share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

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
    # 3 of an image, 2 of a flow field; 10 of five consecutive fields in place of an image, x1 y1 x2 y2 .. y5.
    channels: int = 3
    figures: str = ""  # as published, for the weights below
    weights: str = ""  # where they are published
    licence: str = ""  # of the place that publishes them

    @property
    def sees_flow(self) -> bool:
        """Whether it sees how images move, and not images."""
        return self.channels != 3

    @property
    def stack(self) -> int:
        """How many consecutive flow fields lie side by side in the channels; 1 of images."""
        return self.channels // 2 if self.sees_flow else 1

    def network(self, dtype: Any) -> nn.Module:
        """The network, computing in `dtype` (float32 or bfloat16)."""
        return self.make(dtype=dtype)


FIELDS = 10  # channels of five fields of flow
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLOW = (0.5,) * 2, (0.226,) * 2  # of x and y, before fields are stacked; MMAction2's networks want (x - 128) / 128
# Where weights are published, and under which licence.
MM = ("MMAction2's model zoo (mmaction2.readthedocs.io)", "Apache-2.0")
XT = ("ModelZoo.md of Sense-X/X-Temporal", "")
NOWHERE = ("none are known to be published", "")
DEEP = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}  # blocks of the stages of residual networks
