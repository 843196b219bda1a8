"""Training of the report's encoders (Table 1) on clips of HACS, with the recipes that they were published with.

python -m launch.pack --videos=VIDEOS --clips_csv=HACS_clips_v1.1.csv --missing=skip --fps=15 --out=CLIPS [--flow]
python -m launch.train --config=configs/encoder_hacs.py:slowfast-rgb --workdir=W --config.data.dir=CLIPS \
    --config.stages.recognition.options.weights=KINETICS.pyth

A variant is ENCODER-STREAM: tsm, tsn, slowfast, tin or p3d, and rgb or flow. W/recognition/encoder.safetensors then
goes into launch.encode --weights, which with --scores also writes class_scores.parquet.

The report gives no settings of its fine-tuning. These are of training on Kinetics, as the authors of each network
published them (P3D has none: TSM's are taken); steps are for a set of CLIPS clips. Not measured with this code: neither
HACS nor Kinetics can be had freely.
"""

import difflib

from ml_collections import ConfigDict

from tal_jax.stages.config import default_config

CLIPS = 100_000  # of the training split; steps grow with it: --config.stages.recognition.steps
NAMES = {
    "tsm-rgb": "tsm_resnest269", "tsm-flow": "tsm_resnest269_flow",
    "tsn-rgb": "tsn_bninception", "tsn-flow": "tsn_bninception_flow",
    "slowfast-rgb": "slowfast101_8x8", "slowfast-flow": "slowfast101_8x8_flow",
    "tin-rgb": "tin_resnet101", "tin-flow": "tin_resnet101_flow",
    "p3d-rgb": "p3d199", "p3d-flow": "p3d199_flow",
}  # fmt: skip
BIASES = ("*/conv/bias", "*/dense/bias")  # not of norms


def get_config(variant: str = "slowfast-rgb") -> ConfigDict:
    """The recipe of an encoder and a stream.

    Raises:
      ValueError: no such variant; suggests the nearest.
    """
    if variant not in NAMES:
        close = difflib.get_close_matches(variant.lower(), list(NAMES), 1, cutoff=0)
        raise ValueError(f"no variant {variant!r} (ENCODER-STREAM): did you mean {close[0]!r}?")
    encoder, stream = variant.split("-")
    config = default_config(recognition="recognition")
    config.data.streams = (stream,)
    stage = config.stages.recognition
    stage.model.update(encoder=NAMES[variant], dtype="bfloat16")
    {"tsm": tsm, "tsn": tsn, "slowfast": slowfast, "tin": tin, "p3d": p3d}[encoder](stage, flow=stream == "flow")
    if stream == "flow":
        stage.crop_scales = (1.0, 0.875, 0.75)
    return config


def epochs(stage: ConfigDict, count: int, batch_size: int) -> None:
    """Sets the batch, and as many steps as so many passes over the clips take."""
    stage.batch_size = batch_size
    stage.steps = count * CLIPS // batch_size
    stage.eval_every_steps = 5 * CLIPS // batch_size


def tsn(stage: ConfigDict, flow: bool) -> None:
    """Wang et al. 2016: three images, partial batch norm; flow learns for longer, its first convolution faster."""
    stage.model.update(images=3, dropout=0.7 if flow else 0.8)
    stage.options.partial_norm = True
    epochs(stage, 340 if flow else 80, 128)
    stage.optimizer.update(
        method="sgd", learning_rate=1e-3, weight_decay=5e-4, clip_norm=20.0,
        drops=(190 / 340, 300 / 340) if flow else (30 / 80, 60 / 80),
        rates={**dict.fromkeys(BIASES, 2.0), **({"*/conv1_7x7_s2/conv/*": 5.0} if flow else {})},
    )  # fmt: skip


def tsm(stage: ConfigDict, flow: bool) -> None:
    """Lin et al. 2019: eight images of as many parts; the classifier learns five times as fast, its bias ten times."""
    del flow
    stage.model.dropout = 0.5
    epochs(stage, 50, 128)
    stage.optimizer.update(
        method="sgd", learning_rate=0.02, weight_decay=1e-4, clip_norm=20.0, drops=(20 / 50, 40 / 50),
        rates={"*/head/*": 5.0, "*/head/*/bias": 2.0},
    )  # fmt: skip


def tin(stage: ConfigDict, flow: bool) -> None:
    """Shao et al. 2020: a cosine after an epoch of warm-up."""
    del flow
    stage.model.dropout = 0.8
    epochs(stage, 40, 48)
    stage.optimizer.update(
        method="sgd", learning_rate=0.02, weight_decay=5e-4, clip_norm=20.0, schedule="cosine",
        warmup_steps=CLIPS // 48,
    )  # fmt: skip


def slowfast(stage: ConfigDict, flow: bool) -> None:
    """Feichtenhofer et al. 2019: 32 images, two apart, anywhere in the clip; 0.1 for 64 clips, a cosine."""
    del flow
    stage.update(sampling="dense", crop="random")
    stage.model.dropout = 0.5
    epochs(stage, 196, 64)
    stage.optimizer.update(
        method="sgd", learning_rate=0.1, weight_decay=1e-4, nesterov=True, schedule="cosine",
        warmup_steps=34 * CLIPS // 64,
    )  # fmt: skip


def p3d(stage: ConfigDict, flow: bool) -> None:
    """Qiu et al. 2017 give no recipe for Kinetics: TSM's, on 16 consecutive images."""
    tsm(stage, flow)
    stage.sampling = "dense"
