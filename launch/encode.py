"""Turns videos into features: one file for each video, and encoder.json, which says what they are.

python -m launch.encode --videos=DIR --recipe=hacs_slowfast --weights=FILE --out=FEATURES
python -m launch.encode --videos=DIR --encoder=efficientnet_lite0 --weights=FILE --rate=10 --out=FEATURES
python -m launch.encode --videos=DIR --weights=W/recognition/encoder.safetensors --scores --out=FEATURES

Started again, it goes on with the videos that have no features yet. `launch.prepare --features=NAME=FEATURES` takes the
stride from encoder.json.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags

from tal_jax.commands import app, cluster

_VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos, or one video.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of the features.", required=True)
_ENCODER = flags.DEFINE_string("encoder", "", "Network; a wrong name lists them.")
_RECIPE = flags.DEFINE_string("recipe", "", "Name of published features; decides encoder and sampling.")
_WEIGHTS = flags.DEFINE_string("weights", "", "File of weights as released, or 'random' to try the way.")
_FAMILY = flags.DEFINE_string("family", None, "Whose names the weights have, where the file does not tell.")
_RATE = flags.DEFINE_float("rate", None, "Images a second to take; by default the recipe's, or the video's.", 1e-3, 1e3)
_OWN_RATE = flags.DEFINE_bool("own_rate", False, "Take the images of a video at its own rate.")
_STRIDE = flags.DEFINE_integer("stride", None, "Images from one snippet to the next.", lower_bound=1)
_INTERVAL = flags.DEFINE_integer("interval", None, "Images from one of a clip to the next.", lower_bound=1)
_CROP = flags.DEFINE_enum("crop", "centre", ["centre", "ten"], "What is taken of an image; of ten crops the mean.")
_TIMES = flags.DEFINE_enum(
    "image_times", None, ["stamps", "index"], "When image n is shown: by its time stamp, or at n / mean rate."
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "What the network computes in.")
_STORED = flags.DEFINE_enum("stored", "float32", ["float32", "float16"], "What the files hold.")
_BATCH = flags.DEFINE_integer("batch_size", 0, "Clips on a device at a time; by default of 32 images.", lower_bound=0)
_DECODERS = flags.DEFINE_integer("decoders", 0, "Videos decoded at a time; all cores by default.", lower_bound=0)
_STRICT = flags.DEFINE_bool("strict", False, "Damage is an error; otherwise what can be decoded counts, with a note.")
_SCORES = flags.DEFINE_bool("scores", False, "Class scores of the videos too, by an encoder trained here.")
_FLOW = flags.DEFINE_bool("flow", False, "Encode optical flow as well: OUT/rgb, OUT/flow.")
_FLOW_WEIGHTS = flags.DEFINE_string("flow_weights", "", "Of the encoder of flow, where --flow is given.")
_FLOW_FAMILY = flags.DEFINE_string("flow_family", None, "Whose names those weights have.")
_FLOW_METHOD = flags.DEFINE_enum(
    "flow_method", "denseflow", ["denseflow", "opencv"], "TV-L1 as OpenCV's CUDA form has it, which denseflow runs, or "
    "its CPU form."
)  # fmt: skip
_FLOW_IMAGES = flags.DEFINE_string(
    "flow_images", "", "Folder of denseflow's folders, one for each video: flow is read there, not computed."
)


def main(argv: Sequence[str]) -> None:
    """Encodes."""
    del argv
    from tal_jax.devices.compilation import use_cache
    from tal_jax.encoding.encode import encode
    from tal_jax.encoding.plan import Options

    cluster.join()
    use_cache()
    crop: Any = _CROP.value  # enums of the flags
    times: Any = _TIMES.value
    flow_method: Any = _FLOW_METHOD.value
    print(
        encode(
            Options(
                videos=_VIDEOS.value, out=_OUT.value, encoder=_ENCODER.value, recipe=_RECIPE.value,
                weights=_WEIGHTS.value, family=_FAMILY.value, rate=_RATE.value, own_rate=_OWN_RATE.value,
                stride=_STRIDE.value,
                interval=_INTERVAL.value, crop=crop, times=times, dtype=_DTYPE.value, stored=_STORED.value,
                batch_size=_BATCH.value, decoders=_DECODERS.value, strict=_STRICT.value,
                scores=_SCORES.value, flow=_FLOW.value, flow_weights=_FLOW_WEIGHTS.value,
                flow_family=_FLOW_FAMILY.value, flow_method=flow_method,
                flow_images=_FLOW_IMAGES.value,
            )
        )
    )  # fmt: skip


if __name__ == "__main__":
    app.run(main, reads=[_VIDEOS, _WEIGHTS, _FLOW_WEIGHTS, _FLOW_IMAGES], fills=[_OUT])
