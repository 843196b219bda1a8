"""How features of a name are taken: encoder, rate, images of a clip and stride, as published."""

from dataclasses import dataclass

from tal_jax import words
from tal_jax.errors import InputError
from tal_jax.video.decode import Times


@dataclass(frozen=True)
class Recipe:
    """The sampling that features of a name were made with."""

    name: str
    encoder: str
    rate: float | None  # images a second; None: the video's own
    stride: int  # images from clip to clip
    interval: int = 1  # images from one of a clip to the next
    times: Times = "stamps"  # of images, see `Video`
    of: str = ""  # whose features are made so


RECIPES = (
    Recipe("lite0_10hz", "efficientnet_lite0", 10.0, 1, of="this project's examples: an image for every 0.1 s"),
    Recipe(
        "lite0_10hz_index",
        "efficientnet_lite0_ffmpeg",
        10.0,
        1,
        times="index",
        of="the same by a program that counts images and scales them with FFmpeg",
    ),
    Recipe("hacs_slowfast", "slowfast101_8x8", 15.0, 8, of="TCANet's HACS features"),
    Recipe("thumos_i3d", "i3d", None, 4, of="ActionFormer's THUMOS14 features, the RGB half"),
    Recipe("activitynet_tsp", "r2plus1d34_tsp", 15.0, 16, of="TSP's ActivityNet features"),
    Recipe("thumos_videomae", "videomae_large", None, 4, of="OpenTAD's THUMOS14 features of VideoMAE"),
    Recipe("weak_i3d", "i3d", 25.0, 16, of="weakly-supervised methods' I3D features, the RGB half"),
    Recipe("videoprism_base", "videoprism_base", 8.0, 8, of="frozen VideoPrism, a clip of two seconds every second"),
)


def find(name: str) -> Recipe:
    """The recipe of a name. Raises InputError: there is none; suggests the nearest."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise InputError(f"--recipe={name}: no such recipe; {words.hint(name, [r.name for r in RECIPES], 'there are')}")
