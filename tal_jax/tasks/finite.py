"""Outputs that are not finite: rows of which decoding would leave no detection, or any, are marked instead."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.types import Detections

LARGEST = float(np.finfo(np.float32).max)


def marked(found: Detections, outputs: Any) -> Detections:
    """Detections that tell where a network's outputs are not finite: NaN is smaller and larger than nothing.

    Comparisons with NaN are false, so decoding drops what it should have found, in silence. A row that came of such
    outputs has all of its detections, real and padded, unmasked and with the score NaN: see `windows.is_finite`.

    Args:
      found: [B, P], P > 0, what was decoded.
      outputs: a tree of arrays [B, ..] that it was decoded from.

    Returns:
      [B, P], the same where all outputs of a row are finite.
    """
    whole = jnp.ones(found.mask.shape[:1], bool)
    for x in jax.tree.leaves(outputs):
        if jnp.issubdtype(x.dtype, jnp.floating) and math.prod(x.shape[1:]):
            # Counted: runtimes differ in the maximum of NaN, and agree that a comparison with it is false.
            odd = jnp.where(jnp.abs(x.astype(jnp.float32)) <= LARGEST, 0.0, 1.0)
            whole &= jnp.sum(odd, axis=tuple(range(1, x.ndim))) < 0.5
    return Detections(
        segments=found.segments,
        labels=found.labels,
        scores=jnp.where(whole[:, None], found.scores, jnp.float32(jnp.nan)),
        mask=found.mask | ~whole[:, None],
    )
