"""One self-contained page on detections: mAP, curves, error diagnosis, and a browser over recordings.

python -m launch.report --annotations=A.json --detections=[NAME=]D.json [--detections=..] [--workdir=[NAME=]W ..]
    --out=report/ [--split=validation] [--tiou=0.5:0.95:0.05] [--blocked=FILE]
    [--ignore_labels=Ambiguous] [--shown=N]

Writes OUT/index.html and OUT/figures/NAME.png, NAME.csv. Up to four detections files are compared side by side. A
workdir adds its training curves, the loss of every recording and, of weakly-supervised stages, their class activation
sequences; several add theirs each, such as the rows of launch.ladder.
"""

import os
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app

_ANNOTATIONS = flags.DEFINE_string("annotations", None, "Annotations in the ActivityNet layout.", required=True)
_DETECTIONS = flags.DEFINE_multi_string("detections", None, "Detections in the submission layout.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", required=True)
_WORKDIR = flags.DEFINE_multi_string("workdir", [], "Folder of a training.")
_SPLIT = flags.DEFINE_string("split", "", "training, validation or testing; by default that of the detections.")
_TIOU = flags.DEFINE_string("tiou", "0.5:0.95:0.05", "first:last:step, both ends included, or a comma list.")
_BLOCKED = flags.DEFINE_string("blocked", None, "File with ids of recordings to leave out, one on each line.")
_IGNORE = flags.DEFINE_multi_string(
    "ignore_labels", [], "Classes that do not count, such as Ambiguous, separated by commas: THUMOS14's rule."
)
_UNITS = flags.DEFINE_enum(
    "units", None, ["seconds", "fractions"], "Of the detections' times; seconds, unless they cannot be."
)
_SHOWN = flags.DEFINE_integer("shown", None, "Detections of each recording in the browser; 20, or 10 of many.", 1)
_PICTURED = flags.DEFINE_integer("pictured", 200, "Recordings with class activation sequences.", lower_bound=1)
_DATA = flags.DEFINE_string("data", "", "With --workdir: another prepared set than the one trained on.")


def main(argv: Sequence[str]) -> None:
    """Evaluates, reads the workdirs and writes the page."""
    del argv
    from tal_jax.checks.ignored import parse
    from tal_jax.detect.report_files import report_on

    if _WORKDIR.value:
        from tal_jax.devices.compilation import use_cache

        use_cache()
    page, runs = report_on(
        _ANNOTATIONS.value,
        _DETECTIONS.value,
        _OUT.value,
        workdirs=_WORKDIR.value,
        subset=_SPLIT.value,
        tiou=_TIOU.value,
        blocked_file=_BLOCKED.value or "",
        ignore_labels=parse(_IGNORE.value),
        units=_UNITS.value or "",
        shown=_SHOWN.value,
        pictured=_PICTURED.value,
        data_dir=_DATA.value,
    )
    for run in runs:
        print(f"{run.name}: average mAP {100 * run.detection.average:.1f}")
    print(page)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, reads=[_ANNOTATIONS, _DETECTIONS, _WORKDIR, _BLOCKED, _DATA], fills=[_OUT])
