"""Turns detections of training recordings into their segments: a supervised track then learns from classes alone.

python -m launch.detect --workdir=WEAK --split=training --out=T.json
python -m launch.pseudo --annotations=A.json --detections=T.json --out=P.json
    [--split=training] [--threshold=0.6] [--overlap=0.2] [--noexclusive]
python -m launch.prepare --annotations=P.json .. --out=DATA2, then launch.train with a supervised config

Of the annotations of the subset only the classes are used. Other subsets stay as they are.
"""

from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app
from tal_jax.data import annotations
from tal_jax.evaluation import detection_files as submission
from tal_jax.experiments.pseudo_labels import pseudo_labels

_ANNOTATIONS = flags.DEFINE_string("annotations", None, "Annotations in the ActivityNet layout.", required=True)
_DETECTIONS = flags.DEFINE_string("detections", None, "Detections in the ActivityNet submission layout.", required=True)
_OUT = flags.DEFINE_string("out", None, "Annotations to write (JSON).", required=True)
_SPLIT = flags.DEFINE_string("split", "training", "Whose recordings are labelled.")
_THRESHOLD = flags.DEFINE_float(
    "threshold", 0.6, "Least score, relative to the best of the class in the recording.", 0.0, 1.0
)
_OVERLAP = flags.DEFINE_float("overlap", 0.2, "Temporal IoU that two segments may have.", 0.0, 1.0)
_EXCLUSIVE = flags.DEFINE_bool("exclusive", True, "Also two segments of different classes; else of the same class.")


def main(argv: Sequence[str]) -> None:
    """Reads, picks, writes, and says what was picked."""
    del argv
    found = pseudo_labels(
        annotations.read(_ANNOTATIONS.value),
        submission.read(_DETECTIONS.value),
        _SPLIT.value,
        threshold=_THRESHOLD.value,
        overlap=_OVERLAP.value,
        exclusive=_EXCLUSIVE.value,
    )
    submission.write_json(
        _OUT.value, annotations.layout(found.recordings.values(), f"pseudo labels from {_DETECTIONS.value}")
    )
    print(*found.account(), sep="\n")


if __name__ == "__main__":
    app.run(main, reads=[_ANNOTATIONS, _DETECTIONS], writes=[_OUT])
