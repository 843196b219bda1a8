"""Detects with several trained runs, of other encoders, streams or seeds, together.

python -m launch.ensemble --workdir=W1,W2 --out=D.json [--split=validation] [--weights=performance|uniform|0.6,0.4]
    [--fusion=outputs|detections] [--method=nms|voting] [--stage=NAME] [--data=DATA1,DATA2] [--checkpoint=best]
python -m launch.ensemble --detections=D1.json,D2.json --out=D.json [--weights=0.6,0.4] [--method=nms|voting]

The first averages the outputs of the runs before decoding (confidence maps, refined segments, activation sequences),
or fuses their detections. The second fuses files of detections, of any system.
"""

import os
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app

_OUT = flags.DEFINE_string("out", None, "Detections file to write (JSON).", required=True)
_WORKDIR = flags.DEFINE_list("workdir", [], "Workdirs of trainings.")
_FILES = flags.DEFINE_list("detections", [], "Files of detections instead.")
_SPLIT = flags.DEFINE_string("split", "validation", "Split of every run's prepared set.")
_STAGE = flags.DEFINE_string("stage", "", "The stage, by default the last; bmn gives proposals.")
_DATA = flags.DEFINE_list("data", [], "Other prepared sets than those trained on, one for each run.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "last", ["last", "best"], "Which checkpoint.")
_WEIGHTS = flags.DEFINE_string("weights", "", "performance (of runs, the default), uniform, or numbers.")
_FUSION = flags.DEFINE_enum("fusion", "outputs", ["outputs", "detections"], "What is fused.")
_METHOD = flags.DEFINE_enum("method", "nms", ["nms", "voting"], "How detections are fused.")
_KEPT = flags.DEFINE_integer("per_recording", 200, "Fused detections kept for each recording.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 8, "Windows at a time.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Detects and writes."""
    del argv
    if bool(_WORKDIR.value) == bool(_FILES.value):
        app.fail("give --workdir=W1,W2 (trainings) or --detections=D1.json,D2.json (files), one of them")
    from tal_jax.detect.ensemble import of_files, of_runs
    from tal_jax.devices.compilation import use_cache
    from tal_jax.evaluation.detection_files import write

    use_cache()
    if _FILES.value:
        fused = of_files(_FILES.value, _WEIGHTS.value, method=_METHOD.value, detections=_KEPT.value)
    else:
        fused = of_runs(
            _WORKDIR.value,
            _SPLIT.value,
            stage=_STAGE.value,
            data=_DATA.value,
            checkpoint=_CHECKPOINT.value,
            weights=_WEIGHTS.value or "performance",
            fusion=_FUSION.value,
            method=_METHOD.value,
            detections=_KEPT.value,
            batch_size=_BATCH.value,
        )
    write(_OUT.value, fused)
    print(f"{_OUT.value}: {len(fused.table)} detections in {len(fused.recordings)} recordings")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, reads=[_WORKDIR, _FILES, _DATA], writes=[_OUT])
