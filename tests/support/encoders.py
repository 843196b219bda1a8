"""Random weights of encoders, in the layouts that weights are published in."""

import numpy as np

from tal_jax.encoders import weights
from tal_jax.encoders.catalogue import Encoder
from tal_jax.encoders.names.layouts import layouts_of


def released(encoder: Encoder, family: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random tensors by the names and in the shapes of a released layout, without a classifier."""
    (layout,) = (layout for layout in layouts_of(encoder.network(np.float32)) if layout.name == family)
    tensors = {}
    for rule in layout.rules_for(weights.shapes_of(encoder), layout.prefixes[0]):
        ours = rule.shape[1:] if rule.layers else rule.shape
        shape = [ours[rule.axes.index(axis)] for axis in range(len(rule.axes))]
        shape[0] //= len(rule.parts)
        for name in rule.names:
            values = rng.normal(size=shape, scale=np.prod(shape[1:]) ** -0.5)
            tensors[name] = (np.abs(values) + 0.5 if rule.path.endswith("var") else values).astype(np.float32)
    return tensors
