"""Detections of a trained stage in a split, ready to be written."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tal_jax.data.dataset import Split, open_split
from tal_jax.data.rows import Assembler
from tal_jax.detect.remarks import remark
from tal_jax.devices.mesh import local_mesh
from tal_jax.devices.processes import first, share
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.stages.handover import as_input, per_recording
from tal_jax.stages.plan import with_dataset
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import Stage, build_stage
from tal_jax.stages.tuned_decoding import tuned
from tal_jax.stages.workdir import read_config
from tal_jax.train.checkpoint import restore_params
from tal_jax.words import hint


def detect(
    workdir: str | Path,
    split: str,
    *,
    stage: str = "",
    data_dir: str = "",
    checkpoint: str = "last",
    member: int = 0,
    accept: Sequence[str] = (),
) -> Submission:
    """Runs the last stage (or the given one) over every recording of a split, with its tuned decoding if it has one.

    Args:
      workdir: the folder of a training.
      split: the split's name in the prepared set.
      stage: the stage's name; "" is the last one of the track.
      data_dir: folder of another prepared set than the one trained on, with the same streams; the stages before run on
        it first. "" is the training's own.
      checkpoint: "last", or "best" by the periodic evaluation.
      member: which training of a population, from 0, of the last stage; of the stages before it is the first one's
        results that are taken.
      accept: "encoder" takes features of another encoder than those of the training.

    Returns:
      The detections of all recordings, in seconds.

    Raises:
      InputError: there is no such workdir, stage, split, checkpoint or member, or recordings have no proposals.
    """
    config = read_config(workdir)
    if "encoder" in accept:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, accept_encoders=True))
    if data_dir:
        config = with_dataset(config, data_dir, split)
    name = stage_named(config, stage)
    records = open_split(config.data.dir, split)
    path = Path(workdir).absolute()
    built = build_stage(config, name, path)
    table = _run(built, records, checkpoint, member)
    return Submission(tuple(str(i) for i in records.ids), built.trained_on.labels, table)


def stage_named(config: Config, name: str) -> str:
    """The name of a stage, the last one of the track for "". Raises InputError where the track has no such stage."""
    if name and name not in config.track:
        raise InputError(f"--stage={name}: no such stage: {hint(name, config.track, 'the track is')}")
    return name or config.track[-1]


def _run(stage: Stage, records: Split, checkpoint: str, member: int = 0) -> SegmentTable:
    workdir = stage.workdir
    remark(stage, records)
    params = restore_params(workdir, stage.name, which=checkpoint, member=member)
    assembler = completed(stage, records, checkpoint)
    predictor = Predictor(tuned(stage.task, workdir, stage.name), local_mesh())
    own = len(share(np.arange(len(records))))
    silent = None if first() else True
    with tqdm(total=own, desc=f"{stage.name} {records.split}", unit="recording", disable=silent) as bar:
        return predictor(
            params,
            records,
            assembler,
            index=np.arange(len(records)),
            batch_size=stage.section.batch_size,
            advance=bar.update,
        )


def completed(stage: Stage, records: Split, checkpoint: str = "last") -> Assembler:
    """The stage's assembler, with the artifacts of recordings that the stages before have not seen yet.

    Args:
      stage: the stage whose rows are assembled.
      records: the split with the recordings.
      checkpoint: "last" or "best", of the stages before.

    Raises:
      InputError: recordings have no proposals or class scores, and there is no trained stage to make them.
    """
    rows: dict[str, Any] = {}
    for artifact, found in stage.artifacts.items():
        missing = [str(i) for i in records.ids if str(i) not in found.values]
        if missing:
            more = _from_stage(artifact, missing, stage, records, checkpoint)
            rows[artifact] = {**{i: found.values[i] for i in found.values}, **more}
    return dataclasses.replace(stage.assembler, **rows)


def trained_stage(config: Config, workdir: Path, artifact: str) -> str | None:
    """The name of the first trained stage of the track that makes an artifact; None without any."""
    makers = (name for name in config.track if config.stages[name].kind.makes == artifact)
    return next((name for name in makers if (workdir / name / "checkpoints").is_dir()), None)


def _from_stage(artifact: str, missing: list[str], taker: Stage, records: Split, checkpoint: str) -> dict[str, Any]:
    """What a stage before `taker` finds in recordings that it has not seen yet, by id, see `as_input`."""
    config, workdir = taker.config, taker.workdir
    name = trained_stage(config, workdir, artifact)
    what = artifact.replace("_", " ")
    if name is None:
        raise InputError(
            f"recording {missing[0]} and {len(missing) - 1} more have no {what}, and {workdir} has no trained stage "
            "that makes them: give a file that holds them"
        )
    stage = build_stage(config, name, workdir)
    table = _run(stage, records, checkpoint)
    classes = stage.assembler.num_classes
    return {id: as_input(artifact, rows, classes) for id, rows in per_recording(records.ids, table)}
