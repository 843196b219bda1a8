"""Checks detections against the annotation file, and writes them as the servers of ActivityNet and HACS take them.

python -m launch.submit --detections=D.json --annotations=A.json --split=validation|testing --out=S.json
    [--external_data=TEXT] [--top=100] [--clip] [--missing=empty] [--max_per_recording=N] [--classes=FILE]

The detections may come from any system. What is wrong is named and nothing is written; the ids lose their "v_", every
recording of the subset has an entry. Times are left as they are unless --clip says so, for an end that lies far behind
its recording tells of a wrong stride or of another version of the video.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tal_jax.commands import app
from tal_jax.data import annotations
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation.server_check import VERSION, Rules, check, read_classes

_DETECTIONS = flags.DEFINE_string("detections", None, "Detections in the ActivityNet submission layout.", required=True)
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "Annotations in the ActivityNet layout.", required=True)
_SPLIT = flags.DEFINE_string("split", None, "training, validation or testing.", required=True)
_OUT = flags.DEFINE_string("out", None, "Submission to write (JSON).", required=True)
_EXTERNAL = flags.DEFINE_string(
    "external_data", None, 'What other data was used, "" for none; what the detections file says, by default.'
)
_VERSION = flags.DEFINE_string("version", VERSION, "The submission's field version.")
_CLIP = flags.DEFINE_bool("clip", False, "Cut times to the recording, 0 to its duration.")
_TOP = flags.DEFINE_integer("top", 0, "Keep the best of each recording; 0: all.", lower_bound=0)
_MISSING = flags.DEFINE_enum("missing", "error", ["error", "empty"], "Recordings that the detections do not mention.")
_MAX = flags.DEFINE_integer("max_per_recording", 0, "Refuse more; 0: any number.", lower_bound=0)
_CLASSES = flags.DEFINE_string("classes", "", "File with labels beside those of the annotations, one on each line.")


def main(argv: Sequence[str]) -> None:
    """Reads, checks, writes, and says what was written and changed."""
    del argv
    recordings = annotations.read(_ANNOTATIONS.value)
    classes = read_classes(_CLASSES.value) if _CLASSES.value else ()
    checked = check(
        submission.read(_DETECTIONS.value),
        recordings,
        _SPLIT.value,
        Rules(_MAX.value, _TOP.value, _CLIP.value, _MISSING.value == "empty", classes=classes),
        source=_DETECTIONS.value,
        annotations=_ANNOTATIONS.value,
        version=_VERSION.value,
        external_data=_EXTERNAL.value,
    )
    submission.write(_OUT.value, checked.submission)
    print(*checked.account(), f"{_OUT.value}: {Path(_OUT.value).stat().st_size / 1e6:.3g} MB", sep="\n")


if __name__ == "__main__":
    app.run(main, reads=[_DETECTIONS, _ANNOTATIONS, _CLASSES], writes=[_OUT])
