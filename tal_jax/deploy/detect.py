"""Detections in feature files with an exported model, ready to be written."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tal_jax.checks import units
from tal_jax.data import annotations, class_scores, proposals
from tal_jax.deploy import feature_inputs as files
from tal_jax.deploy import feature_origins
from tal_jax.deploy.model import Model, Recording
from tal_jax.deploy.strides import doubts
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import table_of
from tal_jax.windows import WindowDetections


def detect(
    path: str | Path,
    features: Sequence[str],
    *,
    stride: float | None = None,
    annotation_file: str = "",
    proposal_file: str = "",
    class_score_file: str = "",
    batch_size: int = 1,
    runtime: str = "jax",
    accept: Sequence[str] = (),
    said: Counter[tuple[str, str]] | None = None,
    progress: Callable[[Iterator[WindowDetections], int], Any] = lambda found, total: found,
) -> tuple[Submission, dict[str, float]]:
    """Detects in every recording of feature files.

    Args:
      path: the folder of an exported model.
      features: the sources of features, see `feature_inputs.find`.
      stride: seconds per snippet; None takes what `encoder.json` beside the features says, or the model's.
      annotation_file: JSON file with the durations of the recordings (and, for a model whose recordings had a stride
        each, their strides); "" where snippets x stride is exact enough.
      proposal_file: file of proposals, for a model without a stage that makes them; "" without one.
      class_score_file: file of class scores, for a model without a stage that makes them; "" without one.
      batch_size: how many recordings, or windows of long ones, are computed at a time.
      runtime: see `Model`.
      accept: see `feature_origins.check`.
      said: is told what was assumed of the files, see `feature_inputs.recordings`, and what is doubtful, see `doubts`.
      progress: called with the iterator of detections and the number of recordings; returns an iterator over the same.

    Returns:
      The detections in seconds, and the duration in seconds of every recording by id.

    Raises:
      InputError: something is wrong with the model or a file.
    """
    model = Model(path, runtime)
    found = files.find(model, features)
    known = annotations.read(annotation_file) if annotation_file else {}
    encoded = feature_origins.of(found)
    feature_origins.check(model, encoded, accept)
    found = feature_origins.with_sums(found, encoded, accept)
    durations = feature_origins.durations(encoded)
    durations |= {id: float(r.duration) for id, r in known.items() if r.duration}
    strides = {id: r.stride for id, r in known.items() if r.stride and model.stride is None}
    strides |= feature_origins.strides(encoded)
    for name, given in (("proposals", proposal_file), ("class_scores", class_score_file)):
        if name in model.needs and not given:
            raise InputError(f"{path}: the model makes no {name.replace('_', ' ')}: give --{name}=FILE")
    given_proposals = proposals.read(proposal_file) if proposal_file else {}
    last = np.concatenate([np.zeros(0), *(segments[:, 1] for segments, _ in given_proposals.values())])
    said = Counter() if said is None else said
    opened = files.recordings(
        model,
        found,
        stride=stride,
        durations=durations,
        strides=strides,
        proposals=given_proposals,
        class_scores=class_scores.read(class_score_file, model.labels) if class_score_file else {},
        said=said,
    )
    lengths: dict[str, float] = {}

    def noted() -> Iterator[Recording]:
        for recording in opened:
            resolved = model.checked(recording)
            length = lengths[recording.id] = resolved.duration
            said.update(("", note) for note in doubts(model, resolved))
            where = f"{proposal_file}: record {recording.id}"
            if units.are_fractions(last, [length]):
                raise units.refusal(where, [length], "multiply by the durations")
            own = given_proposals.get(recording.id, (np.zeros((0, 2)), None))[0]
            units.check_inside(where, own, np.full(len(own), length), "Write seconds")
            yield recording

    parts = progress(model.detect(noted(), batch_size), len(found))
    return Submission(tuple(found), model.labels, table_of(enumerate(parts))), lengths


def detect_files(path: str | Path, features: Sequence[str], *, plot: str | Path = "", **options: Any) -> Submission:
    """Detects as `detect` does, with a progress bar, and draws some of the recordings.

    Args:
      path, features, **options: see `detect`. What was assumed of the files is printed on stderr.
      plot: the file of a picture to write (.png, .pdf or .svg); "" draws none.

    Raises:
      InputError: as of `detect`; or no feature files are given, or matplotlib is not installed.
    """
    from tal_jax.plots import detections as figure

    if not features:
        raise InputError("--model wants --features=PATH: a feature file, or a folder of them")
    if plot:
        figure.require_matplotlib()

    def progress(found: Iterator[WindowDetections], total: int) -> Iterator[WindowDetections]:
        return tqdm(found, total=total, desc="detecting", unit="recording")

    said: Counter[tuple[str, str]] = Counter()
    submission, durations = detect(path, features, progress=progress, said=said, **options)
    for (stream, note), count in said.most_common():
        what = (
            f"stream {stream}: in {count} of {len(durations)} files" if stream else f"{count} of {len(durations)} files"
        )
        print(f"{what}: {note:.200}", file=sys.stderr)
    if plot:
        shown = figure.strips_without_truth(submission, durations, 6, 0.3)
        text = figure.caption(shown, len(submission.recordings), 0.3)
        figure.save(figure.draw(shown, submission.labels, text), str(plot))
    return submission
