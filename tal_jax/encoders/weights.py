"""Published weights of an encoder: the file's tensors by the names of a released layout, every one accounted for."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.encoders import trained, weight_files
from tal_jax.encoders.entry import Encoder
from tal_jax.encoders.names.layout import Layout, Rule, Shapes
from tal_jax.encoders.names.layouts import layouts_of
from tal_jax.errors import InputError

Tree = dict[str, Any]
COLLECTIONS = ("params", "batch_stats")


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file of weights held."""

    variables: Tree  # of the network: {"params": .., "batch_stats": ..}, NumPy float32
    head: Mapping[str, np.ndarray] | None  # of the classifier: kernel [D, K], and bias [K] where it has one
    sha256: str  # of the file's bytes
    family: str  # the layout that its names are of


@dataclasses.dataclass(frozen=True)
class _Fit:
    """A layout held against the names of a file."""

    layout: Layout
    rules: list[Rule]
    missing: list[str]
    left: list[str]


def read(path: str | Path, encoder: Encoder, family: str | None = None) -> Weights:
    """Reads a file of published weights for an encoder of the catalogue.

    Args:
      path: of a file as released, see `weight_files`.
      encoder: the network that the weights are for.
      family: the name of the released layout, where the names of the tensors fit several; else it is told by them.

    Raises:
      InputError: the file cannot be read, is of another network or layout (some of its tensors are missing, left over,
        or of another shape), fits several layouts, or has NaN or infinity in it.
    """
    path = Path(path)
    layouts = _asked(encoder, family)
    tensors = weight_files.read(path)
    shapes = shapes_of(encoder)
    fits = [_fit(layout, prefix, shapes, tensors) for layout in layouts for prefix in layout.prefixes]
    fit = _chosen(path, encoder, fits)
    values = {rule.path: _parameter(path, encoder, rule, tensors) for rule in fit.rules}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Weights(_tree(values), _head(path, fit.layout, tensors, encoder), digest, fit.layout.name)


def shapes_of(encoder: Encoder) -> Shapes:
    """The shapes of an encoder's parameters and statistics by path."""
    clip = jax.ShapeDtypeStruct((1, encoder.images, encoder.side, encoder.side, encoder.channels), jnp.float32)
    made = jax.eval_shape(encoder.network(jnp.float32).init, jax.random.key(0), clip)
    flat: dict[str, tuple[int, ...]] = {}
    for tree in made.values():
        flat |= {path: x.shape for path, x in flax.traverse_util.flatten_dict(tree, sep="/").items()}
    return flat


def cross_modality(variables: Tree, channels: int) -> Tree:
    """Weights of images as a start for flow (Wang et al. 2016, arXiv:1608.00859, section 3.2).

    The kernels that see the image are averaged over its three colours, and repeated for every channel of flow; all else
    stays as it is.

    Args:
      variables: of a network of images, as `read` gives them.
      channels: of the network of flow.

    Raises:
      ValueError: no kernel sees three colours.
    """
    flat = flax.traverse_util.flatten_dict(variables)
    # [*window, 3, O]; a window of rows and columns at least, since layers of other things may be three wide.
    stems = [path for path, x in flat.items() if path[-1] == "kernel" and x.ndim > 3 and x.shape[-2] == 3]
    if not stems:
        raise ValueError("no kernel sees the three colours of an image")
    means = {path: np.asarray(flat[path], np.float32).mean(-2, keepdims=True) for path in stems}
    return flax.traverse_util.unflatten_dict(flat | {path: x.repeat(channels, -2) for path, x in means.items()})


def _tree(values: Mapping[str, np.ndarray]) -> Tree:
    def collection(path: str) -> str:
        return "batch_stats" if path.endswith(("/mean", "/var")) else "params"

    return flax.traverse_util.unflatten_dict({(collection(path), *path.split("/")): x for path, x in values.items()})


def _asked(encoder: Encoder, family: str | None) -> Sequence[Layout]:
    layouts = (*layouts_of(encoder.network(jnp.float32)), trained.OWN)
    if family is None:
        return layouts
    names = [layout.name for layout in layouts]
    if family not in names:
        raise InputError(f"--family={family}: weights of {encoder.name} are read from {', '.join(names)}")
    return [dataclasses.replace(layout, by_name_only=False) for layout in layouts if layout.name == family]


def _fit(layout: Layout, prefix: str, shapes: Shapes, tensors: Mapping[str, np.ndarray]) -> _Fit:
    rules = layout.rules_for(shapes, prefix)
    wanted = {name for rule in rules for name in rule.names}
    of_head = {name for names in layout.head_names() for name in names}
    left = [name for name in tensors if name not in wanted | of_head and not layout.ignores(name)]
    return _Fit(layout, rules, [name for name in wanted if name not in tensors], left)


def _chosen(path: Path, encoder: Encoder, fits: list[_Fit]) -> _Fit:
    whole = [fit for fit in fits if not fit.missing and not fit.left]
    names = sorted({fit.layout.name for fit in whole})
    if len(names) > 1 or (whole and whole[0].layout.by_name_only):
        said = " or ".join(f"--family={name}" for name in names)
        raise InputError(f"{path}: its names do not tell what the weights were trained as: say so with {said}")
    if whole:
        return whole[0]
    near = min(fits, key=lambda fit: len(fit.missing) + len(fit.left))
    lists = [
        f"{len(some)} {what}: {listed(some)}"
        for what, some in (("missing", sorted(near.missing)), ("left over", near.left))
        if some
    ]
    raise InputError(
        f"{path}: not weights of {encoder.name} as {near.layout.name} names them ({'; '.join(lists)}): choose the "
        "encoder that they were trained as, or --family"
    )


def _parameter(path: Path, encoder: Encoder, rule: Rule, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    try:
        value = rule.parameter(tensors)
    except ValueError as e:
        raise InputError(f"{path}: {e}: not weights of {encoder.name}; choose the encoder they were trained as") from e
    return _finite(path, rule.names[0], value)


def _head(
    path: Path, layout: Layout, tensors: Mapping[str, np.ndarray], encoder: Encoder
) -> Mapping[str, np.ndarray] | None:
    """The classifier's kernel [D, K] and bias [K]; a convolution of one pixel counts as one."""
    for kernel, bias in layout.head_names():
        if kernel not in tensors:
            continue
        x = tensors[kernel]
        if x.ndim < 2 or x.shape[1:] != (encoder.width,) + (1,) * (x.ndim - 2):
            raise InputError(
                f"{path}: {kernel} is {x.shape} instead of (classes, {encoder.width}): not the classifier of "
                f"{encoder.name}"
            )
        head = {"kernel": _finite(path, kernel, np.ascontiguousarray(x.reshape(x.shape[:2]).T.astype(np.float32)))}
        if bias in tensors:
            head["bias"] = _finite(path, bias, tensors[bias].astype(np.float32))
            if tensors[bias].shape != x.shape[:1]:
                raise InputError(f"{path}: {bias} is {tensors[bias].shape}, not {x.shape[:1]}: not one classifier")
        return head
    return None


def _finite(path: Path, name: str, x: np.ndarray) -> np.ndarray:
    if not np.isfinite(x).all():
        raise InputError(f"{path}: NaN or infinity in {name}: take an earlier checkpoint, or copy the file again")
    return x


def listed(names: list[str], most: int = 6) -> str:
    """A list that stays readable: at most so many names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
