"""Detections of a trained stage over a split, ready to be written."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tal_jax.data.dataset import Split, open_split
from tal_jax.data.rows import Assembler
from tal_jax.devices.mesh import local_mesh
from tal_jax.devices.processes import first, share
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.stages.artifacts import as_input, per_recording
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.stage import Stage, build_stage, elsewhere
from tal_jax.stages.tuned_decoding import tuned
from tal_jax.stages.workdir import read_config
from tal_jax.train.checkpoint import restore_params


def detect(
    workdir: str | Path, split: str, *, stage: str = "", data_dir: str = "", checkpoint: str = "last", member: int = 0
) -> Submission:
    """Runs the last stage (or the given one) over every recording of a split, with its tuned decoding if it has one.

    Args:
      workdir: of a training.
      split: name in the prepared set.
      stage: name; "" is the last of the track.
      data_dir: another prepared set than the one trained on, with the same streams. The stages before run on it first.
      checkpoint: "last" or "best".
      member: of a population, which one of the last stage; the stages before hand on the first one's results.

    Raises:
      InputError: no such workdir, stage, split, checkpoint or member, or recordings without proposals.
    """
    config = read_config(workdir)
    if data_dir:
        elsewhere(config, data_dir, split)
    name = stage or config["track"][-1]
    if name not in config["track"]:
        raise InputError(f"--stage={name}: no such stage: the track is {', '.join(config['track'])}")
    records = open_split(config["data"]["dir"], split)
    path = Path(workdir).absolute()
    built = build_stage(config, name, path)
    table = _run(built, config, path, records, checkpoint, member)
    return Submission(tuple(str(i) for i in records.ids), built.trained_on.labels, table)


def _run(
    stage: Stage, config: dict[str, Any], workdir: Path, records: Split, checkpoint: str, member: int = 0
) -> SegmentTable:
    params = restore_params(workdir, stage.name, which=checkpoint, member=member)
    assembler = joined(stage, config, workdir, records, checkpoint)
    predictor = Predictor(tuned(stage.task, workdir, stage.name), local_mesh())
    own = len(share(np.arange(len(records))))
    silent = None if first() else True
    with tqdm(total=own, desc=f"{stage.name} {records.split}", unit="recording", disable=silent) as bar:
        return predictor(
            params,
            records,
            assembler,
            index=np.arange(len(records)),
            batch_size=config["stages"][stage.name]["batch_size"],
            advance=bar.update,
        )


def joined(stage: Stage, config: dict[str, Any], workdir: Path, records: Split, checkpoint: str = "last") -> Assembler:
    """The stage's assembler, with what the stages before say about recordings that they have not handed on yet.

    Args:
      stage: to assemble for.
      config, workdir: it belongs to.
      records: the recordings.
      checkpoint: "last" or "best", of the stages before.

    Raises:
      InputError: recordings without proposals or class scores, and no stage to make them.
    """
    assembler = stage.assembler
    if assembler.proposals is not None:
        known = assembler.proposals
        missing = [str(i) for i in records.ids if str(i) not in known]
        if missing:
            found = _from_stage("bmn", missing, config, workdir, records, checkpoint)
            assembler = dataclasses.replace(assembler, proposals={**{i: known[i] for i in known}, **found})
    if assembler.class_scores is not None:
        missing = [str(i) for i in records.ids if str(i) not in assembler.class_scores]
        if missing:
            scores = _from_stage("classifier", missing, config, workdir, records, checkpoint)
            assembler = dataclasses.replace(assembler, class_scores={**assembler.class_scores, **scores})
    return assembler


def trained_stage(config: dict[str, Any], workdir: Path, kind: str) -> str | None:
    """The first stage of a kind that a workdir has trained."""
    of_kind = (name for name in config["track"] if config["stages"][name]["task"] == kind)
    return next((name for name in of_kind if (workdir / name / "checkpoints").is_dir()), None)


def _from_stage(
    kind: str, missing: list[str], config: dict[str, Any], workdir: Path, records: Split, checkpoint: str
) -> dict[str, Any]:
    """What an earlier stage of the track says about recordings that it has not seen yet, see `as_input`."""
    name = trained_stage(config, workdir, kind)
    if name is not None:
        stage = build_stage(config, name, workdir)
        table = _run(stage, config, workdir, records, checkpoint)
        classes = stage.assembler.num_classes
        return {id: as_input(kind, rows, classes) for id, rows in per_recording(records.ids, table)}
    what = "proposals" if kind == "bmn" else "class scores"
    raise InputError(
        f"recording {missing[0]} and {len(missing) - 1} more have no {what}, and {workdir} has no trained {kind} stage "
        "to make them: give a file that holds them"
    )
