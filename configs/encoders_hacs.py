"""Both tracks on HACS with each encoder of the report's Table 1: two streams, RGB and flow, or one of them.

python -m launch.prepare --annotations=HACS_segments_v1.1.1.json --features=slowfast_rgb=RGB \
    --features=slowfast_flow=FLOW --stride=0.5333333 --damaged=hacs --missing=skip --out=DATA
python -m launch.train --config=configs/encoders_hacs.py:supervised-slowfast --workdir=W --config.data.dir=DATA

A variant is TRACK-ENCODER[-STREAM][-ROW]:
  TRACK    supervised or weak: configs/supervised_hacs.py, configs/weak_hacs.py
  ENCODER  tsm, tsn, slowfast, tin or p3d
  STREAM   rgb or flow; both, side by side, if not given
  ROW      what those two files call variant: head, video, .. and cas, mdcm, .., full; their default if not given
such as `:weak-tsm`, `:supervised-p3d-flow` or `:weak-tin-rgb-ccm`.

The prepared set has the streams ENCODER_rgb and ENCODER_flow, so that features cannot be taken for another encoder's;
one set may hold several encoders whose features have one stride. The report trains each encoder by itself and fuses the
results with weights by their performance. Not measured with this code: the features are not freely downloadable.
"""

import dataclasses
import difflib

from ml_collections import ConfigDict

from tal_jax.configs import supervised_hacs, weak, weak_hacs

STREAMS = ("rgb", "flow")
ROWS = {"supervised": ("head", "video", "classifier", "released"), "weak": weak.ROWS}
SECONDS = 1000 * 8 / 15  # what TCANet sees of a recording: 1000 snippets of the released features


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A row of Table 1.

    The table has the names alone. Channels are those of the published networks' last layer (SlowFast: 2048 slow and 256
    fast), and `--config.data.widths.STREAM` takes others. The stride is in the report for none of them: it is that of
    the released SlowFast features, 8 frames at 15 a second. What decides is the stride given to launch.prepare; here it
    says how many snippets TCANet's frame has (`--config.stages.tcanet.data.snippets`).
    """

    rgb: str  # as the table calls it
    flow: str
    channels: int  # of each stream
    stride: float = 8 / 15  # seconds per snippet


ENCODERS = {
    "tsm": Encoder("TSM_rgb_ResNest269_K600", "TSM_flow_ResNest269_K600", 2048),
    "tsn": Encoder("TSN_rgb_BnInception_K600", "TSN_flow_BnInception_K600", 1024),
    "slowfast": Encoder("Slowfast101_rgb_K700", "Slowfast101_flow_K700", 2304),
    "tin": Encoder("TIN_rgb_ResNet101_K700", "TIN_flow_ResNet101_K700", 2048),
    "p3d": Encoder("P3D_rgb_ResNet152_K600", "P3D_flow_ResNet152_K400", 2048),
}


def variants() -> dict[str, tuple[str, str, tuple[str, ...], str]]:
    """Every variant: its track, encoder, streams and row, "" for the track's default row."""
    return {
        "-".join(part for part in (track, encoder, stream, row) if part): (
            track,
            encoder,
            (stream,) if stream else STREAMS,
            row,
        )
        for track, rows in ROWS.items()
        for encoder in ENCODERS
        for stream in ("", *STREAMS)
        for row in ("", *rows)
    }


def get_config(variant: str = "supervised-slowfast") -> ConfigDict:
    """The track's HACS config on the streams of an encoder.

    Raises:
      ValueError: no such variant; suggests the nearest.
    """
    known = variants()
    if variant not in known:
        close = difflib.get_close_matches(variant.lower(), list(known), 1, cutoff=0)
        raise ValueError(f"no variant {variant!r} (TRACK-ENCODER[-STREAM][-ROW]): did you mean {close[0]!r}?")
    track, name, streams, row = known[variant]
    config = (supervised_hacs if track == "supervised" else weak_hacs).get_config(*([row] if row else []))
    encoder = ENCODERS[name]
    config.data.streams = tuple(f"{name}_{stream}" for stream in streams)
    config.data.widths = {stream: encoder.channels for stream in config.data.streams}
    if track == "supervised":
        config.stages.tcanet.data.snippets = round(SECONDS / encoder.stride)
    return config
