"""What MODEL of an exported model's folder has to say, and whether the folder's programs and weights agree with it.

Checksums show damage, not what somebody wrote on purpose or another version meant: a name could lead out of the folder.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.windows import Framing, Normalization

REMEDY = "export the model anew (launch.export)"
NEEDS = ("proposals", "class_scores")
MODES = ("window", "resize")


def check_description(path: Path, model: Mapping[str, Any]) -> None:
    """Checks the content of MODEL.

    Args:
      path: the file, for messages.
      model: its content.

    Raises:
      InputError: something is missing, of another type, or impossible, or a stage's name is no folder's.
    """

    def member(values: Mapping[str, Any], key: str, kind: type) -> Any:
        return own_files.member(path, values, key, kind, REMEDY)

    def refuse(what: str) -> InputError:
        return InputError(f"{path}: damaged, {what}: {REMEDY}")

    labels = member(model, "labels", list)
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        raise refuse("its labels are not text, each once")
    streams = member(model, "streams", dict)
    if not streams or not all(type(width) is int and width > 0 for width in streams.values()):
        raise refuse("its streams are not names with their channels")
    if model.get("stride", "") is not None and member(model, "stride", float) <= 0:  # null is one of each recording
        raise refuse(f"a stride of {model['stride']} s")
    if any(need not in NEEDS for need in member(model, "needs", list)):
        raise refuse(f"it needs something else than {' and '.join(NEEDS)}")
    stages = member(model, "stages", list)
    if not stages or not all(isinstance(entry, dict) for entry in stages):
        raise refuse("it has no stages")
    for entry in stages:
        name = member(entry, "name", str)
        if not own_files.is_plain_name(name):
            raise refuse(f"the stage name {name!r:.60} is not that of a folder within")
        member(entry, "kind", str)
        if "makes" in entry:
            member(entry, "makes", str)
        sizes = member(entry, "merges", list)
        if not all(type(size) is int and size > 0 for size in sizes) or member(entry, "proposals", int) < 0:
            raise refuse(f"stage {name} has sizes that cannot be")
        if not _possible(member(entry, "framing", dict)):
            raise refuse(f"stage {name} has no framing that can be")
        if entry["framing"]["mode"] == "window" and not sizes:
            raise refuse(f"stage {name} has windows, and no program that merges them")


def _possible(framing: Mapping[str, Any]) -> bool:
    try:
        found = Framing(**framing)
    except TypeError:
        return False
    numbers = (found.scale, found.overlap, found.keep)
    return (
        found.mode in MODES
        and type(found.snippets) is int
        and found.snippets > 0
        and all(isinstance(x, int | float) and math.isfinite(x) for x in numbers)
        and found.scale > 0
        and 0 <= found.overlap < 1
    )


def read_weights(path: Path, channels: int) -> tuple[dict[str, np.ndarray], Normalization | None]:
    """The arrays of a stage by their paths, and the statistics of its channels where it has any.

    Raises:
      InputError: the file is damaged, or its statistics cannot be those of so many channels.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(own_files.read_bytes(path, REMEDY, largest=1 << 40))
    except (SafetensorError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path}: damaged, not a file of weights ({' '.join(str(e).split()):.80}): {REMEDY}") from e
    statistics = [arrays.pop(f"normalization/{x}") for x in ("mean", "std") if f"normalization/{x}" in arrays]
    if not statistics:
        return arrays, None
    possible = [x.shape for x in statistics] == [(channels,)] * 2 and all(np.isfinite(x).all() for x in statistics)
    if not possible or not (statistics[1] > 0).all():
        raise InputError(f"{path}: damaged, no mean and positive deviation of {channels} channels: {REMEDY}")
    return arrays, Normalization(*statistics)


def check_shapes(path: Path, found: Mapping[str, tuple[Any, ...]], expected: Mapping[str, tuple[Any, ...]]) -> None:
    """Compares the shapes that a program takes with those that it would be given.

    Args:
      path: the program, for messages.
      found: the shapes of the program's arrays by name; an axis of any length is no number.
      expected: those of what it would be given; an axis that may have any length is None.

    Raises:
      InputError: other names, or another length.
    """
    for name in sorted(found.keys() | expected.keys()):
        if name not in found or name not in expected:
            raise InputError(f"{path}: not the program of this model, {name!r:.80} is of one of both alone: {REMEDY}")
        one, other = found[name], expected[name]
        alike = len(one) == len(other) and all(
            a == b for a, b in zip(one, other, strict=True) if isinstance(a, int) and b is not None
        )
        if not alike:
            given = ", ".join("any" if b is None else str(b) for b in other)
            raise InputError(
                f"{path}: not the program of this model, it takes {name} of {tuple(map(str, one))}, and the folder "
                f"gives ({given}): {REMEDY}"
            )
