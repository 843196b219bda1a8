"""A task's prediction as a program of its own: StableHLO for every backend and any batch size, by `jax.export`."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.tasks.task import Params, Task
from tal_jax.types import Array, Batch, Detections

PLATFORMS = ("cpu", "cuda", "tpu")
FIELDS = ("segments", "labels", "scores", "mask")


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


def prediction(
    task: Task,
    params: Params,
    *,
    snippets: int,
    channels: int,
    classes: int,
    proposals: int,
    any_length: bool,
) -> bytes:
    """The prediction: (weights by path, inputs by name) -> {segments, labels, scores, mask}, as `types.Batch` has them.

    Args:
      task, params: of a trained stage; of the parameters only shapes count.
      snippets, channels, classes, proposals: T, C, K and P of the inputs.
      any_length: let T be any number from `snippets` on; of tasks whose shapes allow it.

    Returns:
      A serialized `jax.export.Exported`.
    """
    sizes = jax.export.symbolic_shape("b, t" if any_length else "b", constraints=[f"t >= {snippets}"] * any_length)
    b, t = sizes if any_length else (sizes[0], snippets)

    def shape(*axes: Any, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((b, *axes), dtype)

    inputs = {
        "features": shape(t, channels),
        "mask": shape(t, dtype=bool),
        "stride": shape(),
        "duration": shape(),
        "proposals": shape(proposals, 2),
        "proposal_scores": shape(proposals),
        "proposal_mask": shape(proposals, dtype=bool),
        "class_scores": shape(classes),
    }

    def one(params: Params, row: Mapping[str, Array]) -> dict[str, Array]:
        batch = Batch(
            **{name: x[None] for name, x in row.items()},
            labels=jnp.zeros((1, classes)),
            segments=jnp.zeros((1, 0, 2)),
            segment_labels=jnp.zeros((1, 0), jnp.int32),
            segment_mask=jnp.zeros((1, 0), bool),
        )
        found = task.predict(params, batch)
        return {name: getattr(found, name)[0] for name in FIELDS}

    def predict(weights: Mapping[str, Array], inputs: Mapping[str, Array]) -> dict[str, Array]:
        # Row by row: every shape within the models is then a number, and only the number of rows a symbol.
        return jax.vmap(one, in_axes=(None, 0))(nested(weights), inputs)

    weights = {name: jax.ShapeDtypeStruct(np.shape(x), x.dtype) for name, x in flat(params).items()}
    return bytes(jax.export.export(jax.jit(predict), platforms=PLATFORMS)(weights, inputs).serialize())


def merging(task: Task, size: int) -> bytes:
    """The merging of a recording's windows, `size` detections together: the fields [1, size] -> the same."""
    shapes = [((1, size, 2), jnp.float32), ((1, size), jnp.int32), ((1, size), jnp.float32), ((1, size), bool)]

    def merge(*fields: Array) -> dict[str, Array]:
        merged = task.merge(Detections(*fields))
        return {name: getattr(merged, name) for name in FIELDS}

    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    return bytes(jax.export.export(jax.jit(merge), platforms=PLATFORMS)(*arguments).serialize())
