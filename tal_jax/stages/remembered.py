"""What a stage remembers of its training: its set, statistics of it, and what it took, in files that belong together.

A seal beside them, see `guarded.seal`, has the digest of each: the statistics of another training look like its own,
and nobody would see that the model was trained on other units. The files are written before the first checkpoint, and
never again; each checkpoint says beside which seal it was saved. Configs are not sealed, for people correct those.
"""

import json
import os
from pathlib import Path
from typing import Any

import google_crc32c

from tal_jax.data import atomic
from tal_jax.data.dataset import Metadata
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.guarded.record_checks import check_metadata
from tal_jax.guarded.seal import FILE_NAME as SEAL
from tal_jax.guarded.seal import read_seal, write_seal
from tal_jax.stages.workdir import has_checkpoint

DATA, NORMALIZATION, TRIAXIAL, INPUTS = "data.json", "normalization.npz", "triaxial.json", "inputs.json"
FILES = (DATA, NORMALIZATION, TRIAXIAL, INPUTS)


def forget(workdir: Path, stage: str) -> None:
    """Removes what an attempt that never saved has left, perhaps of other data."""
    for name in (SEAL, *FILES):
        (workdir / stage / name).unlink(missing_ok=True)


def seal(workdir: Path, stage: str) -> None:
    """Seals what a stage remembers, after all of it is written."""
    folder = workdir / stage
    with atomic.writing(folder / SEAL) as temporary:
        write_seal(temporary, [folder / name for name in FILES if (folder / name).exists()])


def seal_sum(folder: Path) -> int | None:
    """CRC32C of the seal of a stage, by its folder; None where there is none that can be read."""
    try:
        return int(google_crc32c.value(own_files.read_bytes(folder / SEAL, "")))
    except InputError:
        return None


def read_set(workdir: Path, stage: str) -> tuple[Metadata, int] | None:
    """The metadata of the set that a stage was begun with, and the stored snippets of that set's longest recording.

    Lengths and classes that a config leaves open come from here, so that a trained stage means the same on other data.
    Whoever plans a stage reads this first: all that the stage remembers is compared with its seal.

    Returns:
      None for a stage that has saved nothing.

    Raises:
      InputError: a file is missing or damaged, or of another training.
    """
    if not has_checkpoint(workdir, stage):
        return None
    path, remedy, stored = _data(workdir, stage)
    _check_seal(path, stored, remedy)
    values = own_files.member(path, stored, "metadata", dict, remedy)
    longest = own_files.member(path, stored, "longest", int, remedy)
    try:
        metadata = Metadata.from_json(values)
        check_metadata(metadata)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f"{path}: damaged, not what is known of a set: {remedy}") from e
    if longest < 1:
        raise InputError(f"{path}: damaged, a longest recording of {longest} snippets: {remedy}")
    return metadata, longest


def read_held_out(workdir: Path, stage: str) -> str:
    """The digest that `write_set` noted of the recordings that a stage held out; "" in older workdirs.

    Raises:
      InputError: the file is missing or damaged.
    """
    path, remedy, stored = _data(workdir, stage)
    return str(own_files.member(path, {"held_out": "", **stored}, "held_out", str, remedy))


def write_set(workdir: Path, stage: str, metadata: Metadata, longest: int, held_out: str = "") -> None:
    """Writes what `read_set` reads; `seal` is to follow.

    Args:
      workdir: the folder of the track.
      stage: the stage's name.
      metadata: that of the set that the stage will be trained on.
      longest: how many snippets of that set's longest recording are stored.
      held_out: a digest of the recordings that are not learned from.
    """
    path = workdir / stage / DATA
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"metadata": metadata.to_json(), "longest": longest, "held_out": held_out, "sealed": True}
    atomic.write(path, json.dumps(content, indent=1).encode())


def _data(workdir: Path, stage: str) -> tuple[Path, str, dict[str, Any]]:
    """What `write_set` wrote: the file, what to do where it is damaged, and its content."""
    path = workdir / stage / DATA
    remedy = f"restore it, or remove {path.parent} to train the stage anew"
    return path, remedy, own_files.read_object(path, remedy)


def _check_seal(path: Path, stored: dict[str, Any], remedy: str) -> None:
    """Compares what lies beside `path`, that of DATA, with the seal; in folders of older versions there is none."""
    found = read_seal(path.parent, "training", remedy)
    if found is None:
        if stored.get("sealed"):
            raise InputError(f"{path.with_name(SEAL)}: missing: {remedy}")
        return
    for name in FILES:
        if name in found.digests or os.path.lexists(path.with_name(name)):
            found.read(name)
