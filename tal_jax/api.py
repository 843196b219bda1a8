"""The short way from files to a table: `encode`, `prepare`, `train`, `detect`, `evaluate` as `tal_jax` offers them.

Each does what the command of its name does, with the command's flags as keyword arguments.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from tal_jax import bundled
from tal_jax.errors import InputError
from tal_jax.evaluation.detection import DetectionResult
from tal_jax.evaluation.detection_files import Submission

if TYPE_CHECKING:
    import numpy as np

PathLike = str | os.PathLike[str]


def encode(videos: PathLike, *, out: PathLike, weights: PathLike, **options: Any) -> str:
    """Turns videos into features, one file each, and `encoder.json`, which says what they are.

    Args:
      videos: a folder of videos, or one video.
      out: folder of the features; videos whose features are there are left as they are.
      weights: file of the encoder's weights as released, or "random" to try the way.
      **options: `encoder` or `recipe`, and other fields of `encoders.plan.Options`, by name.

    Returns:
      What was done, in a line.

    Raises:
      InputError: bad options; or some videos could not be encoded, while the rest was.
    """
    from tal_jax.encoding.encode import encode as run
    from tal_jax.encoding.plan import Options

    return run(Options(videos=str(videos), out=str(out), weights=str(weights), **options))


def prepare(
    annotations: PathLike,
    features: Mapping[str, PathLike],
    *,
    stride: float | str | None = None,
    out: PathLike,
    clips: PathLike | None = None,
    clip_features: Mapping[str, PathLike] | None = None,
    proposals: PathLike | None = None,
    workers: int = 1,
    **options: Any,
) -> str:
    """Checks annotations and feature files, and packs them into a prepared set.

    Args:
      annotations: JSON file in the ActivityNet layout.
      features: folder (or HDF5 file) of every stream by the stream's name, as in {"rgb": "features/rgb"}.
      stride: seconds per snippet; or "duration" where every file covers its whole recording, "annotations" where every
        record of them holds its "stride", or a CSV file of lines id,stride. None: `images_per_snippet` is given, or
        the `encoder.json` of `launch.encode` says it.
      out: folder of the prepared set, to be made.
      clips: JSON file of trimmed clips in the same layout, for weakly-supervised training.
      clip_features: folder (or HDF5 file) of the clips by the stream's name.
      proposals: folder of CSV files with the proposals of each recording.
      workers: how many processes read and pack. A script that asks for more than one has to begin with
        `if __name__ == "__main__":`.
      **options: the other fields of `tal_jax.prepare.plan.Options`: dtype, widths, layouts, missing, min_seconds,
        damaged, ignore_labels, shard_mb, images_per_snippet, accept.

    Returns:
      What was kept, and what was left out and why, as text.

    Raises:
      InputError: an argument or a file is wrong.
    """
    from tal_jax.prepare.plan import Options
    from tal_jax.prepare.prepare import prepare as run

    return run(
        Options(
            annotations=str(annotations),
            features=_texts(features),
            stride=None if stride is None else str(stride),
            out=str(out),
            clips=None if clips is None else str(clips),
            clip_features=_texts(clip_features or {}),
            proposals=None if proposals is None else str(proposals),
            workers=workers,
            **options,
        )
    )


def train(
    config: PathLike | ConfigDict | Mapping[str, Any],
    workdir: PathLike,
    *,
    data: PathLike | None = None,
    stage: str = "",
    changes: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Trains the stages of a config that are not finished, or goes on where a training stopped.

    Args:
      config: name of a config of the package or path of one, both with :VARIANT where it has variants; or the config
        itself.
      workdir: folder for checkpoints and logs.
      data: folder of the prepared set; None takes the config's.
      stage: the only stage to run; if it is finished already, it runs again from the start. "" runs all of them.
      changes: values that take the place of the config's, by dotted keys, as in {"stages.bmn.steps": 500}.

    Returns:
      The scores of the last stage on the evaluation split, fractions in [0, 1]; {} where it has none.

    Raises:
      InputError: something is wrong with config, data or workdir.
      tal_jax.errors.Interrupted: the process was asked to stop; the same call goes on.
      tal_jax.errors.TrainingDiverged: a loss or its gradient is not finite.
    """
    from tal_jax.train.history import last_scores
    from tal_jax.train.loop import train_and_evaluate

    settings = _config(config)
    changed = {**(changes or {}), **({} if data is None else {"data.dir": str(data)})}
    try:
        settings.lock().update_from_flattened_dict(changed)
    except (KeyError, AttributeError, TypeError, ValueError) as e:
        raise InputError(f"config: {' '.join(str(e).split())}") from e
    train_and_evaluate(settings.to_dict(), str(workdir), stage)
    return last_scores(Path(workdir) / (stage or settings.track[-1]))


def detect(
    workdir: PathLike,
    split: str = "validation",
    *,
    out: PathLike | None = None,
    stage: str = "",
    data: PathLike | None = None,
    checkpoint: str = "last",
    member: int = 0,
) -> Submission:
    """Detects in every recording of a split with what was trained.

    Args:
      workdir: the folder of a training.
      split: the split's name in the prepared set.
      out: file to write the detections to as well, in the ActivityNet submission layout.
      stage: the stage's name; "" is the last one of the track. BMN's stage gives proposals.
      data: folder of another prepared set than the one trained on.
      checkpoint: "last", or "best" by the periodic evaluation.
      member: which training of a population, from 0.

    Returns:
      The detections, times in seconds.

    Raises:
      InputError: there is no such workdir, split, stage, checkpoint or member, or `out` cannot be written.
    """
    from tal_jax.data import outputs
    from tal_jax.detect.detect import detect as run
    from tal_jax.evaluation.detection_files import write

    where = "" if data is None else str(data)
    if out is not None:
        read = [outputs.Input(path, name) for path, name in ((str(workdir), "workdir"), (where, "data"))]
        outputs.check([outputs.Output(str(out), "out")], read)
    found = run(str(workdir), split, stage=stage, data_dir=where, checkpoint=checkpoint, member=member)
    if out is not None:
        write(str(out), found)
    return found


def evaluate(
    ground_truth: PathLike,
    detections: PathLike | Submission,
    *,
    subset: str,
    tiou: "Sequence[float] | np.ndarray | str" = "0.5:0.95:0.05",
    ignore_labels: Sequence[str] = (),
) -> DetectionResult:
    """Mean average precision of detections, with the rules of ActivityNet.

    Args:
      ground_truth: JSON file of annotations in the ActivityNet layout.
      detections: file in the submission layout, or what `detect` returns.
      subset: "training", "validation" or "testing".
      tiou: thresholds in (0, 1], or as the command takes them: "first:last:step", both ends included.
      ignore_labels: classes that do not count, such as "Ambiguous" of THUMOS14, with the rule of its evaluation kit.

    Returns:
      The result, which prints as a table in percent; its `average` and `mAP` are fractions in [0, 1].

    Raises:
      InputError: something is wrong with the files, or the detections have no labels.
    """
    from tal_jax.checks.ignored import leave_out
    from tal_jax.data import annotations
    from tal_jax.evaluation import detection_files
    from tal_jax.evaluation.detection import evaluate_detections, parse_tiou
    from tal_jax.evaluation.ground_truth import select

    found = detections if isinstance(detections, Submission) else detection_files.read(detections)
    if (found.table.label < 0).any():
        raise InputError("detections without a label: they are proposals: see tal_jax.evaluate_proposals")
    recordings, _ = leave_out(annotations.read(str(ground_truth)), ignore_labels, str(ground_truth))
    chosen = select(recordings, found, subset)
    thresholds = parse_tiou(tiou) if isinstance(tiou, str) else tiou
    return evaluate_detections(chosen.truth, chosen.detections, chosen.labels, thresholds, chosen.excusing)


def _texts(paths: Mapping[str, PathLike]) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items()}


def _config(given: PathLike | ConfigDict | Mapping[str, Any]) -> ConfigDict:
    """A copy of the config with all keys, which may be changed."""
    from tal_jax.stages.config import with_defaults

    if isinstance(given, Mapping | ConfigDict):
        return with_defaults(ConfigDict(given.to_dict() if isinstance(given, ConfigDict) else given))
    name, variant = bundled.split_variant(str(given))
    return with_defaults(bundled.load_config(bundled.locate("configs", name), *variant))
