"""Every tensor of a checkpoint accounted for: weights by the rules, constants by what the model was made for."""

from collections.abc import Callable, Mapping

import numpy as np

from tal_jax.convert.family import Family
from tal_jax.convert.rules import Tensors, to_parameters, to_tensors
from tal_jax.convert.state_dict import listed
from tal_jax.errors import InputError

# A checkpoint of half precision has rounded constants; those of another model differ by more.
TOLERANCE = 5e-3


def parameters_of(
    family: Family, tensors: Tensors, like: Mapping[str, np.ndarray], snippets: int, file: str
) -> Tensors:
    """A checkpoint's weights as parameters.

    Args:
      family: the family that the checkpoint is of.
      tensors: all tensors of the checkpoint by name.
      like: the model's parameters by path; only their shapes count.
      snippets: number of snippets T that the model is for.
      file: the name of the file, for messages.

    Returns:
      parameters by path, float32.

    Raises:
      InputError: lists unknown, missing and mis-shaped tensors, those with NaN or infinity, constants of another model.
    """
    known = {p for rule in family.rules for p in rule.parameters}
    if known != set(like):
        raise InputError(f"{family.name} has other parameters than this model: {listed(sorted(known ^ set(like)))}")
    expected = {name: x.shape for name, x in to_tensors(family.rules, like).items()}
    named = {**expected, **dict.fromkeys(family.constants)}
    problems = {
        "unknown": [n for n in tensors if n not in named],
        "missing": [n for n in named if n not in tensors and n not in family.may_lack],
        "mis-shaped": [
            f"{n} {tensors[n].shape} instead of {shape}"
            for n, shape in expected.items()
            if n in tensors and tensors[n].shape != shape
        ],
        "not of floating point": [n for n in expected if n in tensors and tensors[n].dtype != np.float32],
    }
    if any(problems.values()):
        lists = "; ".join(f"{len(names)} {what}: {listed(names)}" for what, names in problems.items() if names)
        raise InputError(
            f"{file}: not a checkpoint of {family.name} for this config ({lists}): choose another --family, or the "
            "config and the data it was trained with"
        )
    bad = [n for n in expected if not np.isfinite(tensors[n]).all()]
    if bad:
        raise InputError(f"{file}: NaN or infinity in {listed(bad)}: take an earlier checkpoint of that training")
    _check_constants(family, tensors, snippets, file)
    return to_parameters(family.rules, tensors)


def _check_constants(family: Family, tensors: Tensors, snippets: int, file: str) -> None:
    for name, make in family.constants.items():
        if name in tensors and not _alike(tensors[name], make, snippets):
            was = snippets_of(family, tensors)
            reason = "its sampling, window or layout is another one: choose another --family"
            if was is not None and was != snippets:
                reason = f"the checkpoint is of T = {was}: set data.snippets of the stage to that"
            raise InputError(
                f"{file}: the constant {name} {tensors[name].shape} is not {family.name}'s at T = {snippets}, the "
                f"snippets of the config's frame; {reason}"
            )


def _alike(found: np.ndarray, make: Callable[[int], np.ndarray], snippets: int) -> bool:
    # The shape first: what a wrong T asks for may be gigabytes.
    if found.ndim < 2 or found.shape[-1] % snippets or found.dtype.kind not in "bfiu":
        return False
    expected = make(snippets)
    if found.size != expected.size or found.shape[-1] != expected.shape[-1]:
        return False
    rows = zip(found.reshape(expected.shape), expected, strict=True)  # there may be a leading axis of one more or less
    return all(np.allclose(a.astype(np.float32), b.astype(np.float32), rtol=0, atol=TOLERANCE) for a, b in rows)


def snippets_of(family: Family, tensors: Mapping[str, np.ndarray]) -> int | None:
    """T of the model that a checkpoint was made for, according to its constants."""
    for name in family.constants:
        if name in tensors and tensors[name].ndim >= 2:
            return int(tensors[name].shape[-2])  # [T, ..] or [.., T, T]
    return None


def tensors_of(family: Family, parameters: Mapping[str, np.ndarray], snippets: int, where: str) -> Tensors:
    """The family's state dict of a model, constants included.

    Raises:
      InputError: the family has no place for some parameters, or wants others.
    """
    known = {p for rule in family.rules for p in rule.parameters}
    extra, missing = sorted(set(parameters) - known), sorted(known - set(parameters))
    problems = [f"no place for {listed(extra)}"] * bool(extra) + [f"no {listed(missing)} to write"] * bool(missing)
    if problems:
        raise InputError(f"{where}: {family.name} cannot express this model ({'; '.join(problems)})")
    return to_tensors(family.rules, parameters) | {name: make(snippets) for name, make in family.constants.items()}
