"""StableHLO programs of a task's prediction, for every backend and any batch size, by `jax.export`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.batch_layout import INPUTS, Sizes
from tal_jax.deploy.model_folder import FIELDS
from tal_jax.tasks.task import Params, Task
from tal_jax.types import Array, Batch, Detections

PLATFORMS = ("cpu", "cuda", "tpu")
Shapes = dict[str, jax.ShapeDtypeStruct]


def flat(params: Params) -> dict[str, Array]:
    """The arrays of a tree of parameters by their paths, "a/b/kernel"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {"/".join(str(key.key) for key in path): x for path, x in leaves}


def nested(weights: Mapping[str, Array]) -> Params:
    """The tree of parameters whose arrays are given by their paths, the inverse of `flat`."""
    tree: dict[str, Any] = {}
    for name, x in weights.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = x
    return tree


def inputs(sizes: Sizes, b: Any, t: Any) -> Shapes:
    """The shapes and types of a prediction's inputs by name.

    Args:
      sizes: the lengths of the other axes.
      b: B, which may be a symbol of `jax.export`.
      t: T, which may be one as well.
    """
    spec = Batch.spec(dataclasses.replace(sizes, snippets=t), b)
    return {name: getattr(spec, name) for name in INPUTS}


def predictor(task: Task) -> Callable[[Params, Mapping[str, Array]], dict[str, Array]]:
    """A task's prediction as a function of parameters and of inputs by name; it returns FIELDS by name."""

    def predict(params: Params, inputs: Mapping[str, Any]) -> dict[str, Array]:
        found = task.predict(params, Batch.make(**inputs))
        return {name: getattr(found, name) for name in FIELDS}

    return predict


def merger(task: Task) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """A task's merging of windows as a function of FIELDS by name, [1, N] detections; it returns FIELDS by name."""

    def merge(fields: Mapping[str, Array]) -> dict[str, Array]:
        merged = task.merge(Detections(**fields))
        return {name: getattr(merged, name) for name in FIELDS}

    return merge


def merger_inputs(size: int) -> Shapes:
    """The shapes and types of FIELDS of one recording with up to `size` detections, [1, size] each."""
    shapes = [((1, size, 2), jnp.float32), ((1, size), jnp.int32), ((1, size), jnp.float32), ((1, size), bool)]
    return {name: jax.ShapeDtypeStruct(*shape) for name, shape in zip(FIELDS, shapes, strict=True)}


def prediction(task: Task, params: Params, sizes: Sizes, *, any_length: bool) -> bytes:
    """The prediction as StableHLO: (weights by path, inputs by name) -> FIELDS.

    Args:
      task: the task of a trained stage.
      params: the task's parameters, of which only shapes and types count.
      sizes: the sizes of the inputs.
      any_length: let T be any number from `sizes.snippets` on; only for tasks whose shapes allow it.

    Returns:
      A serialized `jax.export.Exported`.
    """
    t = sizes.snippets
    symbols = jax.export.symbolic_shape("b, t" if any_length else "b", constraints=[f"t >= {t}"] * any_length)
    of_batch = predictor(task)

    def one(weights: Mapping[str, Array], row: Mapping[str, Array]) -> dict[str, Array]:
        found = of_batch(nested(weights), {name: x[None] for name, x in row.items()})
        return {name: x[0] for name, x in found.items()}

    # Row by row: every shape within the models is then a number, and only the number of rows a symbol.
    predict = jax.vmap(one, in_axes=(None, 0))

    weights = {name: jax.ShapeDtypeStruct(np.shape(x), x.dtype) for name, x in flat(params).items()}
    shapes = inputs(sizes, symbols[0], symbols[1] if any_length else t)
    return serialized(predict, weights, shapes)


def merging(task: Task, size: int) -> bytes:
    """The merging of a recording's windows, `size` detections together, as StableHLO: FIELDS [1, size] -> FIELDS."""

    def merge(*fields: Array) -> dict[str, Array]:
        return merger(task)(dict(zip(FIELDS, fields, strict=True)))

    return serialized(merge, *merger_inputs(size).values())


def serialized(function: Callable[..., Any], *shapes: Any) -> bytes:
    """A function of arrays of these shapes as a program for all of PLATFORMS.

    It says nothing of the files that it was traced from, whose paths are those of one machine: so equal models are
    equal programs, byte for byte.
    """
    before = jax.config.values["jax_traceback_in_locations_limit"]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        return bytes(jax.export.export(jax.jit(function), platforms=PLATFORMS)(*shapes).serialize())
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)
