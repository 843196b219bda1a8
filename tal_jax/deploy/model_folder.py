"""The folder of an exported model: its files, and the checksums that reveal a damaged one.

MODEL       what it detects and how recordings become its input (JSON)
SUMS        SHA-256 of every other file, as `sha256sum --check` reads it
STAGE/      predict.stablehlo, merge-N.stablehlo for sets of up to N detections, weights.safetensors;
            predict.onnx and merge-N.onnx, where they were asked for and could be made
README.md   how to load it
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tal_jax.deploy.model_description import REMEDY, check_description
from tal_jax.errors import InputError
from tal_jax.guarded import own_files

FORMAT = 1
MODEL = "model.json"
SUMS = "SHA256SUMS"
FIELDS = ("segments", "labels", "scores", "mask")  # of detections, in the order of the programs' results
PREDICT = "predict.stablehlo"
ONNX = "predict.onnx"
WEIGHTS = "weights.safetensors"


def merge_file(size: int, like: str = PREDICT) -> str:
    """The name of the program that merges a recording's windows of up to `size` detections, in the format of `like`."""
    return f"merge-{size}{Path(like).suffix}"


def seal(folder: Path) -> None:
    """Writes the checksums of all files in the folder."""
    lines = [f"{_digest(folder / name)}  {name}\n" for name in sorted(_files(folder))]
    (folder / SUMS).write_text("".join(lines))


def is_export(folder: Path) -> bool:
    """Whether a folder holds files of an export alone, whole or damaged: nothing is lost that an export cannot make."""
    try:
        own = _sums(folder)
    except InputError:
        return False
    return MODEL in own and own.keys() >= set(_files(folder))


def check_free(out: Path) -> None:
    """Raises InputError where a new export would take the place of other files than those of an export."""
    if out.exists() and not (out.is_dir() and (is_export(out) or not any(out.iterdir()))):
        raise InputError(f"{out}: holds other files than those of an export: remove it, or give another --out")


def read_model(folder: Path) -> dict[str, Any]:
    """Checks every file of a folder, and reads MODEL.

    Returns:
      The content of MODEL: labels, streams, stride, needs, and an entry for each stage.

    Raises:
      InputError: it is no exported model, or one of a newer format, or a file is missing, damaged or does not belong.
    """
    sums = _sums(folder)
    present = set(_files(folder))
    for name in sorted(present | sums.keys()):
        if name not in present:
            raise InputError(f"{folder / name}: missing: copy the folder again, or export the model anew")
        if name not in sums:
            raise InputError(f"{folder / name}: not a file of this model: remove it")
        if _digest(folder / name) != sums[name]:
            raise InputError(f"{folder / name}: damaged: its checksum is not that of {SUMS}: export the model anew")
    if MODEL not in sums:
        raise InputError(f"{folder / MODEL}: missing in {SUMS}: export the model anew")
    model = own_files.read_object(folder / MODEL, REMEDY)
    if model.get("format") != FORMAT:
        raise InputError(f"{folder / MODEL}: format {model.get('format')!r}, this version reads {FORMAT}: export anew")
    check_description(folder / MODEL, model)
    return model


def _sums(folder: Path) -> dict[str, str]:
    """The checksum of every file that a folder is to have, by its name. Raises InputError where they cannot be read."""
    path, remedy = folder / SUMS, f"{folder} is not a model that launch.export wrote"
    lines = own_files.as_text(path, own_files.read_bytes(path, remedy), remedy).splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _files(folder: Path) -> Iterator[str]:
    return (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != SUMS)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
