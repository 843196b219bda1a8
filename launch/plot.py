"""Draws some recordings, with what is there and what was detected.

python -m launch.plot --annotations=A.json --detections=D.json --split=validation --out=F.png [--recordings=6]
    [--min_score=0.3] [--ignore_labels=Ambiguous]
"""

from collections.abc import Sequence

from absl import flags

from tal_jax.checks import ignored
from tal_jax.commands import app
from tal_jax.data import annotations
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation import ground_truth as selection
from tal_jax.plots import detections as figure

_ANNOTATIONS = flags.DEFINE_string("annotations", None, "Annotations in the ActivityNet layout.", required=True)
_DETECTIONS = flags.DEFINE_string("detections", None, "Detections in the ActivityNet submission layout.", required=True)
_SPLIT = flags.DEFINE_string("split", None, "training, validation or testing.", required=True)
_OUT = flags.DEFINE_string("out", None, "Picture to write: .png, .pdf or .svg.", required=True)
_RECORDINGS = flags.DEFINE_integer("recordings", 6, "How many recordings to show.")
_IGNORE = flags.DEFINE_multi_string(
    "ignore_labels", [], "Classes that do not count, such as Ambiguous, separated by commas: they are not drawn."
)
_MIN_SCORE = flags.DEFINE_float("min_score", 0.3, "Least score to show, as a fraction of the recording's best.")


def main(argv: Sequence[str]) -> None:
    """Reads both files and writes the picture."""
    del argv
    path = _ANNOTATIONS.value
    recordings, _ = ignored.leave_out(annotations.read(path), ignored.parse(_IGNORE.value), path)
    chosen = selection.select(recordings, submission.read(_DETECTIONS.value), _SPLIT.value)
    shown = figure.strips(chosen, recordings, _RECORDINGS.value, _MIN_SCORE.value)
    text = figure.caption(shown, len(chosen.recordings), _MIN_SCORE.value)
    classes = {label for recording in recordings.values() for label in recording.labels}
    figure.save(figure.draw(shown, chosen.labels, text, classes), _OUT.value)
    print(f"{_OUT.value}: {text}")


if __name__ == "__main__":
    app.run(main, reads=[_ANNOTATIONS, _DETECTIONS], writes=[_OUT])
