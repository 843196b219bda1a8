"""Artifacts as a stage takes them: where the file lies, and whether it is of the right set and parameters.

`stages.handover` writes what is read here.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.checks.units import are_fractions, check_inside, refusal
from tal_jax.data import atomic, class_scores, clip_features, proposals
from tal_jax.data.dataset import Metadata, Split
from tal_jax.data.parquet import read_origin
from tal_jax.encoders import trained
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.stages.remembered import INPUTS
from tal_jax.stages.sections import Config
from tal_jax.stages.workdir import finished, finished_parameters
from tal_jax.tasks.task import CLASS_SCORES, CLIP_FEATURES, ENCODER, PROPOSALS

FILES = {name: f"{name}.parquet" for name in (PROPOSALS, CLASS_SCORES, CLIP_FEATURES)}
FILES[ENCODER] = f"{ENCODER}.safetensors"
OLD_FILES = {CLIP_FEATURES: "knowledge.parquet"}  # the names that workdirs of older versions have


@dataclasses.dataclass(frozen=True)
class Origin:
    """What an artifact was made from."""

    fingerprint: str  # of the prepared set, see `Metadata`
    content: str  # of all records of that set, likewise
    parameters: str  # see `parameter_digest`

    def is_of(self, metadata: Metadata) -> bool:
        """Whether the artifact was made from the set of this metadata."""
        own = dataclasses.replace(metadata, fingerprint=self.fingerprint, content=self.content)
        return own.is_set_of(metadata)


@dataclasses.dataclass(frozen=True)
class Artifact:
    """What a stage takes from another one, or from a file."""

    values: Mapping[str, Any]  # recording or clip -> what it has
    origin: Origin | None  # None: a file of another system, or of an older version, which do not say
    path: Path


def artifact_path(config: Config, stage: str, artifact: str, workdir: Path) -> Path:
    """The file that a stage takes an artifact from: the config's, or that of the track's stage that makes it.

    Args:
      config: the config of the track.
      stage: the name of the stage that takes the artifact.
      artifact: PROPOSALS, CLASS_SCORES or CLIP_FEATURES.
      workdir: the folder of the track, with those of its stages.

    Raises:
      InputError: there is neither, or the stage that makes it has not been run.
    """
    key = f"--config.stages.{stage}.{artifact}=FILE"
    given = config.stages[stage].files.get(artifact)
    if given:
        return Path(given)
    for name in config.track:
        if name != stage and config.stages[name].kind.makes == artifact:
            path = made_file(workdir / name, artifact)
            if not path.exists():
                how = f": {written_again(workdir, name)}" if (workdir / name / "finished.json").exists() else ""
                raise InputError(f"{path}: missing: run stage {name!r} first{how}, or give a file with {key}")
            return path
    what = artifact.replace("_", " ")
    raise InputError(f"config: no stage in the track makes the {what} of stage {stage!r}: give a file with {key}")


def made_file(folder: Path, artifact: str) -> Path:
    """Where a stage with this folder keeps the artifact that it makes; older workdirs have other names."""
    old = folder / OLD_FILES.get(artifact, FILES[artifact])
    return old if old.exists() else folder / FILES[artifact]


def read_artifact(config: Config, stage: str, artifact: str, workdir: Path, labels: tuple[str, ...]) -> Artifact:
    """Reads an artifact for the stage that takes it.

    Args:
      config: the config of the track.
      stage: the name of the stage that takes it.
      artifact: PROPOSALS, CLASS_SCORES or CLIP_FEATURES.
      workdir: the folder of the track, with those of its stages.
      labels: [K] names of the set's classes, in the order that class scores are to have.

    Raises:
      InputError: the file is missing or damaged, or was made with other parameters than the stage has that should have
        made it.
    """
    path = artifact_path(config, stage, artifact, workdir)
    return read_made(path, artifact, labels)


def read_made(path: Path, artifact: str, labels: tuple[str, ...]) -> Artifact:
    """Reads a file of an artifact; where it lies in the folder of a finished stage, that one has to have made it.

    Args:
      path: the file.
      artifact: PROPOSALS, CLASS_SCORES, CLIP_FEATURES or ENCODER.
      labels: see `read_artifact`.

    Raises:
      InputError: see `read_artifact`.
    """
    finished_here = (path.parent / "finished.json").exists()
    try:
        origin, values = _origin(path, artifact), _values(path, artifact, labels)
    except InputError as e:
        if not finished_here:
            raise
        raise InputError(f"{e}: {written_again(path.parent.parent, path.parent.name)}") from e
    made_with = finished_parameters(path.parent.parent, path.parent.name)
    if origin is not None and made_with and origin.parameters != made_with:
        raise InputError(
            f"{path}: made with other parameters than those that stage {path.parent.name!r} has: train that stage "
            "again (launch.train --stage), or restore its folder"
        )
    return Artifact(values, origin, path)


def written_again(workdir: Path, stage: str) -> str:
    """How to get a finished stage's artifact back without training."""
    return (
        f"remove {workdir / stage / 'finished.json'} and start launch.train --workdir={workdir} again, which writes it "
        "from the last checkpoint"
    )


def _values(path: Path, artifact: str, labels: tuple[str, ...]) -> Mapping[str, Any]:
    if artifact == PROPOSALS:
        return proposals.read(path)
    if artifact == ENCODER:
        return {}  # no stage takes it; its tensors are looked at where they are used
    return class_scores.read(path, labels) if artifact == CLASS_SCORES else clip_features.read(path)


def _origin(path: Path, artifact: str) -> Origin | None:
    """What a file says of where it comes from; class scores may be JSON, which says nothing."""
    if path.is_dir() or (artifact == CLASS_SCORES and path.suffix != ".parquet"):
        return None
    if artifact == ENCODER:
        found = trained.about(path)
        note: Mapping[str, Any] = {} if found is None else found.origin
    else:
        note = read_origin(path) or {}
    try:
        return Origin(**{f.name: str(note[f.name]) for f in dataclasses.fields(Origin)})
    except KeyError:
        return None


def check_set(artifact: Artifact, metadata: Metadata, directory: Path) -> None:
    """Raises InputError where an artifact says that it was made from another set than the one in a directory."""
    if artifact.origin is not None and not artifact.origin.is_of(metadata):
        raise InputError(
            f"{artifact.path}: made from another set than {directory}: run the stage that makes it on this set, in "
            "another --workdir, or give a file made from it"
        )


def check_seconds(artifact: Artifact, split: Split) -> None:
    """Raises InputError where proposals of another system are no seconds of the recordings in a split."""
    if artifact.origin is not None:
        return
    lengths = {
        str(id): float(d) for id, d in zip(split.ids, split.durations, strict=True) if str(id) in artifact.values
    }
    segments = np.concatenate([np.zeros((0, 2)), *(artifact.values[id][0] for id in lengths)])
    if are_fractions(segments[:, 1], list(lengths.values())):
        remedy = "multiply by the durations, or give them to launch.prepare, --proposals=DIR --proposal_units=fractions"
        raise refusal(str(artifact.path), list(lengths.values()), remedy)
    each = np.repeat(list(lengths.values()), [len(artifact.values[id][0]) for id in lengths])
    check_inside(str(artifact.path), segments, each, "Write seconds")


def check_inputs(workdir: Path, stage: str, artifacts: Mapping[str, Artifact]) -> None:
    """Compares artifacts with those that a stage began its training with.

    Args:
      workdir: the folder of the track.
      stage: the stage's name.
      artifacts: what the stage takes now, by name.

    Raises:
      InputError: one of them was made with other parameters, or from another set, than the one in training.
    """
    path = workdir / stage / INPUTS
    if not os.path.lexists(path):
        return  # a workdir of an older version, or a stage without artifacts
    remedy = "restore it, or remove it to go on without this check"
    stored, before = own_files.read_object(path, remedy), {}
    for name in [name for name in artifacts if name in stored]:
        note = own_files.member(path, stored, name, dict, remedy)
        fields = [field.name for field in dataclasses.fields(Origin)]
        before[name] = Origin(**{field: own_files.member(path, note, field, str, remedy) for field in fields})
    for name, origin in before.items():
        if artifacts[name].origin != origin:
            again = f"launch.train --stage={stage}" if finished(workdir, stage) else f"remove {workdir / stage}"
            raise InputError(
                f"{artifacts[name].path}: not the {name.replace('_', ' ')} that stage {stage!r} was trained with: "
                f"restore the file, or train the stage anew ({again})"
            )


def write_inputs(workdir: Path, stage: str, artifacts: Mapping[str, Artifact]) -> None:
    """Writes the origins of a stage's artifacts, for `check_inputs` to read; arguments as there."""
    known = {name: dataclasses.asdict(found.origin) for name, found in artifacts.items() if found.origin is not None}
    atomic.write(workdir / stage / INPUTS, json.dumps(known, indent=1).encode())
