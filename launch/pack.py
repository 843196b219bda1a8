"""Packs clips of videos as images into TFRecords with TFDS metadata, to train encoders on.

python -m launch.pack --videos=DIR --annotations=A.json --fps=15 --out=CLIPS
python -m launch.pack --videos=DIR --clips_csv=HACS_clips_v1.1.csv --missing=skip --out=CLIPS

Started again, it goes on where it stopped.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags

from tal_jax.checks import ignored
from tal_jax.commands import app

_VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos, or one video.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of the packed set.", required=True)
_ANNOTATIONS = flags.DEFINE_string("annotations", "", "ActivityNet-style JSON file.")
_CLIPS_CSV = flags.DEFINE_string("clips_csv", "", "In its place: classname,youtube_id,subset,start,end,label, as HACS.")
_WHAT = flags.DEFINE_enum("what", "segments", ["segments", "whole"], "Clips: annotated segments, or whole videos.")
_FPS = flags.DEFINE_float("fps", 15.0, "Images a second.", 1e-3, 1e3)
_SHORT_SIDE = flags.DEFINE_integer("short_side", 256, "Rows or columns, whichever are fewer.", 16, 4096)
_QUALITY = flags.DEFINE_integer("quality", 90, "Of the JPEG files.", 1, 100)
_MIN_SECONDS = flags.DEFINE_float("min_seconds", 0.0, "Leave out segments of this length or less.", 0.0)
_IGNORE = flags.DEFINE_multi_string("ignore_labels", [], "Classes that do not count; separated by commas.")
_BLOCKED = flags.DEFINE_string("blocked", None, "Videos to leave out: 'hacs', or a file with one id a line.")
_MISSING = flags.DEFINE_enum("missing", "error", ["error", "skip"], "What to do with clips without their video.")
_WORKERS = flags.DEFINE_integer("workers", None, "Processes; all cores by default.", lower_bound=1)
_SHARD_MB = flags.DEFINE_integer("shard_mb", 256, "Largest size of a shard.", lower_bound=1)
_FLOW = flags.DEFINE_bool("flow", False, "Compute optical flow too, the stream flow; it takes seconds for an image.")
_FLOW_METHOD = flags.DEFINE_enum(
    "flow_method", "denseflow", ["denseflow", "opencv"], "TV-L1 as OpenCV's CUDA form has it, which denseflow runs, or "
    "its CPU form."
)  # fmt: skip


def main(argv: Sequence[str]) -> None:
    """Packs the set, and prints what was kept and what was left out and why."""
    del argv
    method: Any = _FLOW_METHOD.value  # an enum of the flags
    from tal_jax.recognition.pack import Options, pack

    print(
        pack(
            Options(
                videos=_VIDEOS.value, out=_OUT.value, annotations=_ANNOTATIONS.value, clips_csv=_CLIPS_CSV.value,
                what=_WHAT.value, fps=_FPS.value, short_side=_SHORT_SIDE.value, quality=_QUALITY.value,
                min_seconds=_MIN_SECONDS.value, ignore_labels=ignored.parse(_IGNORE.value), blocked=_BLOCKED.value,
                missing=_MISSING.value, workers=_WORKERS.value, shard_mb=_SHARD_MB.value,
                flow=_FLOW.value, flow_method=method,
            )
        )
    )  # fmt: skip


if __name__ == "__main__":
    app.run(main, reads=[_VIDEOS, _ANNOTATIONS, _CLIPS_CSV, _BLOCKED], fills=[_OUT])
