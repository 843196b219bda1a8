"""The file of an encoder that was trained here: its weights, its classifier, and what it is, in a .safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from tal_jax.data import atomic
from tal_jax.encoders.names.layout import Layout, Rule, Shapes
from tal_jax.errors import InputError
from tal_jax.guarded import own_files

NOTE = "tal_jax"  # key of what the file says of itself
CLASSIFIER = "classifier"
REMEDY = "take the file from where launch.train wrote it"


@dataclass(frozen=True)
class About:
    """What such a file says of itself."""

    encoder: str  # name in the catalogue
    labels: tuple[str, ...]  # [K] classes of its classifier
    rate: float | None  # images a second of the clips that it was trained on
    origin: Mapping[str, str]  # of set and parameters, see `stages.artifacts`


def _rules(shapes: Shapes) -> list[Rule]:
    return [Rule(path, (path,), shape, tuple(range(len(shape)))) for path, shape in shapes.items()]


OWN = Layout(NOTE, head=(CLASSIFIER,), rules=_rules)


def write(
    path: Path,
    encoder: str,
    variables: Mapping[str, Any],
    dense: Mapping[str, Any],
    labels: tuple[str, ...],
    rate: float | None,
    origin: Mapping[str, str],
) -> None:
    """Writes a trained encoder.

    Args:
      path: of the file.
      encoder: its name in the catalogue.
      variables: of the network, by collection.
      dense: kernel [D, K] and bias [K] of the classifier.
      labels: [K] its classes.
      rate: see `About`.
      origin: see `About`.

    Raises:
      OSError: the disk is full.
    """
    arrays: dict[str, np.ndarray] = {}
    for tree in variables.values():
        flat = flax.traverse_util.flatten_dict(dict(tree), sep="/")
        arrays |= {name: np.asarray(x, order="C") for name, x in flat.items()}
    arrays[f"{CLASSIFIER}.weight"] = np.ascontiguousarray(np.asarray(dense["kernel"]).T)
    arrays[f"{CLASSIFIER}.bias"] = np.ascontiguousarray(dense["bias"])
    note = {"encoder": encoder, "labels": labels, "rate": rate, "origin": dict(origin)}
    atomic.write(path, safetensors.numpy.save(arrays, {NOTE: json.dumps(note, sort_keys=True)}))


def about(path: str | Path) -> About | None:
    """What a file says of itself; None where it is no encoder that was trained here.

    Raises:
      InputError: it is damaged.
    """
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, "np") as file:
            text = (file.metadata() or {}).get(NOTE)
    except (safetensors.SafetensorError, OSError) as e:
        raise InputError(f"{path}: not a whole .safetensors file ({e}): {REMEDY}") from e
    if text is None:
        return None
    values = own_files.as_object(path, text.encode(), REMEDY)
    name, labels, origin = (
        own_files.member(path, values, key, kind, REMEDY)
        for key, kind in (("encoder", str), ("labels", list), ("origin", dict))
    )
    if not all(isinstance(label, str) for label in labels):
        raise InputError(f"{path}: damaged, its classes are no text: {REMEDY}")
    rate = values.get("rate")
    if rate is not None and not (isinstance(rate, int | float) and 0 < rate < 1e3):
        raise InputError(f"{path}: damaged, a rate of {rate!r:.20} images a second: {REMEDY}")
    return About(name, tuple(labels), rate, {str(k): str(v) for k, v in origin.items()})
