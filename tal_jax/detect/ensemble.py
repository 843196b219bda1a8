"""Ensembles of workdirs, or of files of detections, with a line on what each member weighs and lacks."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tqdm import tqdm

from tal_jax.detect.detect import detect
from tal_jax.detect.ensemble_detections import check_units, fuse
from tal_jax.detect.ensemble_members import Run, open_runs
from tal_jax.detect.ensemble_outputs import detect_together
from tal_jax.detect.ensemble_weights import given, normalized
from tal_jax.devices.mesh import local_mesh
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission, read
from tal_jax.stages.plan import check_held_out
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.stage import build_stage
from tal_jax.stages.tuned_decoding import tuned
from tal_jax.stages.workdir import read_config
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.evaluate import evaluate_stage

Say = Callable[[str], None]


def of_runs(
    workdirs: Sequence[str | Path],
    split: str,
    *,
    stage: str = "",
    data: Sequence[str] = (),
    checkpoint: str = "last",
    weights: str = "performance",
    fusion: str = "outputs",
    method: str = "nms",
    detections: int = 200,
    batch_size: int = 8,
    say: Say = print,
) -> Submission:
    """Detections of several trainings together.

    Args:
      workdirs, split, data, checkpoint: see `ensemble_members.open_runs`.
      stage: the stage's name in every run; "" is the last one of each track.
      weights: "performance", "uniform", or numbers as in "0.5,0.3".
      fusion: "outputs" (see `ensemble_outputs.detect_together`) or "detections" (see `ensemble_detections.fuse`).
      method, detections: arguments of `ensemble_detections.fuse`.
      batch_size: how many windows are computed at a time, where outputs are averaged.
      say: called with each line: what each run weighs, and which recordings it lacks.

    Returns:
      The detections of all recordings that any run has, in seconds.

    Raises:
      InputError: something is wrong with runs, data or weights, or they do not fit together.
    """
    runs = open_runs(workdirs, split, data=data, checkpoint=checkpoint)
    names = [str(run.workdir) for run in runs]
    shares = _weights(weights, runs, stage, say)
    _report_missing([run.position for run in runs], names, say)
    if fusion == "outputs":
        return detect_together(runs, shares, stage=stage, batch_size=batch_size)
    found = [
        detect(run.workdir, split, stage=stage, data_dir=data[i] if data else "", checkpoint=checkpoint)
        for i, run in enumerate(runs)
    ]
    return _fused(found, shares, method, detections)


def of_files(
    paths: Sequence[str | Path],
    weights: str = "",
    *,
    method: str = "nms",
    detections: int = 200,
    say: Say = print,
) -> Submission:
    """The detections of several files together.

    Args:
      paths: files in the submission layout, of any system.
      weights: "uniform", which "" means as well, or numbers as in "0.5,0.3".
      method, detections, say: see `of_runs`.

    Returns:
      The detections of all recordings that any file lists, in seconds.

    Raises:
      InputError: something is wrong with files or weights, no file has a recording, or they do not fit together.
    """
    if weights == "performance":
        raise InputError("--weights=performance: of files it is not known: give numbers, or uniform")
    submissions, names = [read(path) for path in paths], [str(path) for path in paths]
    if not any(s.recordings for s in submissions):
        raise InputError(f'{", ".join(names)}: there are no recordings in "results": nothing to fuse, detect again')
    check_units(submissions, names)
    shares = normalized([1.0] * len(names)) if weights in ("", "uniform") else given(weights, len(names))
    for name, share in zip(names, shares, strict=True):
        say(f"{name}: weight {share:.3f}")
    _report_missing([set(s.recordings) for s in submissions], names, say)
    return _fused(submissions, shares, method, detections)


def _fused(submissions: Sequence[Submission], weights: Sequence[float], method: str, detections: int) -> Submission:
    total = len({id for s in submissions for id in s.recordings})
    with tqdm(total=total, desc="fusing detections", unit="recording") as bar:
        return fuse(submissions, weights, method=method, detections=detections, advance=bar.update)


def _weights(rule: str, runs: Sequence[Run], stage: str, say: Say) -> list[float]:
    if rule == "uniform":
        shares, notes = normalized([1.0] * len(runs)), [""] * len(runs)
    elif rule == "performance":
        scores = [_performance(run, stage or run.config.track[-1]) for run in runs]
        shares = normalized(scores)
        notes = [f", scores {score:.3f} on its own evaluation recordings" for score in scores]
    else:
        shares, notes = given(rule, len(runs)), [""] * len(runs)
    for run, share, note in zip(runs, shares, notes, strict=True):
        say(f"{run.workdir}: weight {share:.3f}{note}")
    return shares


def _performance(run: Run, stage: str) -> float:
    """The run's score on its own evaluation recordings: average mAP, AUC of proposals, or mAP of recordings' classes.

    They are recordings of its own training's set, whatever set is to be detected in: that one's truth decides nothing.
    """
    config = read_config(run.workdir)
    built = build_stage(config, stage, run.workdir)
    check_held_out(built.recordings, config.data, stage, run.workdir)
    params = restore_params(run.workdir, stage, which=run.checkpoint)
    task = tuned(built.task, run.workdir, stage)
    scores = evaluate_stage(built, Predictor(task, local_mesh()), params, built.section.batch_size)
    if not scores:
        raise InputError(
            f"{run.workdir}: no recordings with ground truth to weigh it by: train with --config.data.holdout=0.1, or "
            "give --weights=uniform"
        )
    return scores["average"]


def _report_missing(known: Sequence[Collection[str]], names: Sequence[str], say: Say) -> None:
    everyone = {id for ids in known for id in ids}
    for ids, name in zip(known, names, strict=True):
        if missing := sorted(everyone.difference(ids)):
            say(
                f"{name} lacks {len(missing)} of {len(everyone)} recordings (first {missing[0]}): fused from the others"
            )
