"""Writes the detections of a trained workdir in the ActivityNet submission layout.

python -m launch.detect --workdir=W --split=validation --out=D.json [--stage=NAME] [--data=DATA] [--checkpoint=best]
"""

import os
from collections.abc import Sequence

from absl import flags

from launch import app, cluster

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the training.", required=True)
_SPLIT = flags.DEFINE_string("split", "validation", "Split of the prepared set.")
_OUT = flags.DEFINE_string("out", None, "Detections file to write (JSON).", required=True)
_STAGE = flags.DEFINE_string("stage", "", "Stage; the last of the track by default; a bmn stage gives proposals.")
_DATA = flags.DEFINE_string("data", "", "Another prepared set than the one trained on.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "last", ["last", "best"], "Which checkpoint.")
_MEMBER = flags.DEFINE_integer("member", 0, "Of a population, which member, from 0.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Detects and writes."""
    del argv
    from tal_jax.evaluation.submission import write
    from tal_jax.train.compilation import use_cache
    from tal_jax.train.detect import detect
    from tal_jax.train.processes import first

    cluster.join()
    use_cache()
    submission = detect(
        _WORKDIR.value,
        _SPLIT.value,
        stage=_STAGE.value,
        data_dir=_DATA.value,
        checkpoint=_CHECKPOINT.value,
        member=_MEMBER.value,
    )
    if not first():
        return
    write(_OUT.value, submission)
    print(f"{_OUT.value}: {len(submission.table)} detections in {len(submission.recordings)} recordings")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
