"""Writes detections in the ActivityNet submission layout: of a trained workdir, or of an exported model.

python -m launch.detect --workdir=W --split=validation --out=D.json [--stage=NAME] [--data=DATA] [--checkpoint=best]
python -m launch.detect --model=E --features=x.npy --stride=0.533 --out=D.json [--plot=D.png]

python -m launch.detect --model=E --video=x.mp4 --out=D.json

The first takes the recordings of a prepared set. The second takes feature files as they are, one or a folder of them
(--features=NAME=PATH for each stream), of any length. The third takes videos, one or a folder of them, with a model
that was exported with its encoder.
"""

import os
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app, cluster

_OUT = flags.DEFINE_string("out", None, "Detections file to write (JSON).", required=True)
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of a training.")
_SPLIT = flags.DEFINE_string("split", "validation", "With --workdir: split of the prepared set.")
_STAGE = flags.DEFINE_string("stage", "", "With --workdir: the stage, by default the last; bmn gives proposals.")
_DATA = flags.DEFINE_string("data", "", "With --workdir: another prepared set than the one trained on.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "last", ["last", "best"], "With --workdir: which checkpoint.")
_MEMBER = flags.DEFINE_integer("member", 0, "With --workdir: of a population, which member, from 0.", lower_bound=0)
_MODEL = flags.DEFINE_string("model", "", "Folder that launch.export wrote.")
_FEATURES = flags.DEFINE_multi_string("features", [], "With --model: a file, a folder, or NAME=PATH for each stream.")
_VIDEO = flags.DEFINE_string("video", "", "With --model: a video, or a folder of them.")
_SUBTITLES = flags.DEFINE_string("subtitles", "", "With --video: subtitles to write (.vtt or .srt).")
_ANNOTATED = flags.DEFINE_string("annotated", "", "With --video: the video with labels in its images to write (.mp4).")
_LEAST = flags.DEFINE_float("least", 0.3, "With --video: the score of what subtitles and pictures show.", 0.0, 1.0)
_STRICT = flags.DEFINE_bool("strict", False, "With --video: damage is an error, not a note.")
_STRIDE = flags.DEFINE_float("stride", None, "With --model: seconds per snippet; the training's by default.", 1e-9)
_ANNOTATIONS = flags.DEFINE_string("annotations", "", "With --model: annotation file, for the recordings' durations.")
_PROPOSALS = flags.DEFINE_string("proposals", "", "With --model: Parquet file, for a model that makes none.")
_CLASS_SCORES = flags.DEFINE_string("class_scores", "", "With --model: file, for a model that makes none.")
_BATCH = flags.DEFINE_integer("batch_size", 8, "With --model: windows at a time.", lower_bound=1)
_RUNTIME = flags.DEFINE_enum("runtime", "jax", ["jax", "onnxruntime"], "With --model: what runs it.")
_ACCEPT = flags.DEFINE_multi_enum("accept", [], ["encoder"], "Insist: features of another encoder than the training's.")
_PLOT = flags.DEFINE_string("plot", "", "With --model: picture of some recordings to write (.png, .pdf or .svg).")


def main(argv: Sequence[str]) -> None:
    """Detects and writes."""
    del argv
    if bool(_WORKDIR.value) == bool(_MODEL.value):
        app.fail("give --workdir=W (a training) or --model=E (an exported model), one of them")
    from tal_jax.devices.compilation import use_cache
    from tal_jax.devices.processes import first
    from tal_jax.evaluation.detection_files import write

    cluster.join()
    use_cache()
    if _VIDEO.value:
        if not _MODEL.value or _FEATURES.value:
            app.fail("--video wants --model=E, a model that was exported with its encoder, and no --features")
        from tal_jax.deploy.detect_videos import detect_in_videos

        submission = detect_in_videos(
            _MODEL.value,
            _VIDEO.value,
            strict=_STRICT.value,
            plot=_PLOT.value,
            subtitled=_SUBTITLES.value,
            annotated=_ANNOTATED.value,
            least=_LEAST.value,
        )
    elif _MODEL.value:
        from tal_jax.deploy.detect import detect_files

        submission = detect_files(
            _MODEL.value,
            _FEATURES.value,
            stride=_STRIDE.value,
            annotation_file=_ANNOTATIONS.value,
            proposal_file=_PROPOSALS.value,
            class_score_file=_CLASS_SCORES.value,
            batch_size=_BATCH.value,
            runtime=_RUNTIME.value,
            accept=_ACCEPT.value,
            plot=_PLOT.value,
        )
    else:
        from tal_jax.detect.detect import detect

        submission = detect(
            _WORKDIR.value,
            _SPLIT.value,
            stage=_STAGE.value,
            data_dir=_DATA.value,
            checkpoint=_CHECKPOINT.value,
            member=_MEMBER.value,
            accept=_ACCEPT.value,
        )
    if first():
        write(_OUT.value, submission)
        print(f"{_OUT.value}: {len(submission.table)} detections in {len(submission.recordings)} recordings")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(
        main,
        reads=[_WORKDIR, _DATA, _MODEL, _FEATURES, _VIDEO, _ANNOTATIONS, _PROPOSALS, _CLASS_SCORES],
        writes=[_OUT, _PLOT, _SUBTITLES, _ANNOTATED],
    )
