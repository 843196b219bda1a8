"""A task's prediction as a program of its own: StableHLO for every backend and any batch size, by `jax.export`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.deploy.model_folder import FIELDS
from tal_jax.tasks.task import Params, Task
from tal_jax.types import Array, Batch, Detections

PLATFORMS = ("cpu", "cuda", "tpu")
Shapes = dict[str, jax.ShapeDtypeStruct]


def flat(params: Params) -> dict[str, Array]:
    """Parameters by their path, "a/b/kernel"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {"/".join(str(key.key) for key in path): x for path, x in leaves}


def nested(weights: Mapping[str, Array]) -> Params:
    """The inverse of `flat`."""
    tree: dict[str, Any] = {}
    for name, x in weights.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = x
    return tree


@dataclass(frozen=True)
class Sizes:
    """Sizes of a prediction's inputs."""

    snippets: int  # T
    channels: int  # C
    classes: int  # K
    proposals: int  # P

    def inputs(self, b: Any, t: Any) -> Shapes:
        """Inputs of b rows of t snippets, as `types.Batch` has them; both may be symbols."""

        def shape(*axes: Any, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((b, *axes), dtype)

        return {
            "features": shape(t, self.channels),
            "mask": shape(t, dtype=bool),
            "stride": shape(),
            "duration": shape(),
            "proposals": shape(self.proposals, 2),
            "proposal_scores": shape(self.proposals),
            "proposal_mask": shape(self.proposals, dtype=bool),
            "class_scores": shape(self.classes),
        }


def predictor(task: Task, classes: int) -> Callable[[Params, Mapping[str, Array]], dict[str, Array]]:
    """A task's prediction from parameters and inputs by name to FIELDS."""

    def predict(params: Params, inputs: Mapping[str, Array]) -> dict[str, Array]:
        b = inputs["features"].shape[0]
        batch = Batch(
            **inputs,
            labels=jnp.zeros((b, classes)),
            segments=jnp.zeros((b, 0, 2)),
            segment_labels=jnp.zeros((b, 0), jnp.int32),
            segment_mask=jnp.zeros((b, 0), bool),
        )
        found = task.predict(params, batch)
        return {name: getattr(found, name) for name in FIELDS}

    return predict


def merger(task: Task) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """The merging of recordings' windows, FIELDS [B, N] -> FIELDS."""

    def merge(fields: Mapping[str, Array]) -> dict[str, Array]:
        merged = task.merge(Detections(**fields))
        return {name: getattr(merged, name) for name in FIELDS}

    return merge


def merger_inputs(size: int) -> Shapes:
    """FIELDS of one recording with up to `size` detections."""
    shapes = [((1, size, 2), jnp.float32), ((1, size), jnp.int32), ((1, size), jnp.float32), ((1, size), bool)]
    return {name: jax.ShapeDtypeStruct(*shape) for name, shape in zip(FIELDS, shapes, strict=True)}


def prediction(task: Task, params: Params, sizes: Sizes, *, any_length: bool) -> bytes:
    """The prediction as StableHLO: (weights by path, inputs by name) -> FIELDS.

    Args:
      task, params: of a trained stage; of the parameters only shapes count.
      sizes: of the inputs.
      any_length: let T be any number from `sizes.snippets` on; of tasks whose shapes allow it.

    Returns:
      A serialized `jax.export.Exported`.
    """
    t = sizes.snippets
    symbols = jax.export.symbolic_shape("b, t" if any_length else "b", constraints=[f"t >= {t}"] * any_length)
    of_batch = predictor(task, sizes.classes)

    def one(weights: Mapping[str, Array], row: Mapping[str, Array]) -> dict[str, Array]:
        found = of_batch(nested(weights), {name: x[None] for name, x in row.items()})
        return {name: x[0] for name, x in found.items()}

    # Row by row: every shape within the models is then a number, and only the number of rows a symbol.
    predict = jax.vmap(one, in_axes=(None, 0))

    weights = {name: jax.ShapeDtypeStruct(np.shape(x), x.dtype) for name, x in flat(params).items()}
    inputs = sizes.inputs(symbols[0], symbols[1] if any_length else t)
    return bytes(jax.export.export(jax.jit(predict), platforms=PLATFORMS)(weights, inputs).serialize())


def merging(task: Task, size: int) -> bytes:
    """The merging of a recording's windows, `size` detections together, as StableHLO: FIELDS [1, size] -> FIELDS."""

    def merge(*fields: Array) -> dict[str, Array]:
        return merger(task)(dict(zip(FIELDS, fields, strict=True)))

    return bytes(jax.export.export(jax.jit(merge), platforms=PLATFORMS)(*merger_inputs(size).values()).serialize())
