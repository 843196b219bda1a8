"""Detections of classes that cover whole rows: what a classifier says, in the layout that everything speaks."""

import jax
import jax.numpy as jnp

from tal_jax.types import Array, Batch, Detections


def covering(scores: Array, batch: Batch) -> Detections:
    """Detections [B, K] of scores [B, K] float32, best first: class k covers the whole row with score k."""
    b, k = scores.shape
    ends = jnp.broadcast_to(batch.duration[:, None], (b, k))
    best, order = jax.lax.top_k(scores, k)
    return Detections(
        segments=jnp.stack([jnp.zeros((b, k)), ends], axis=-1),
        labels=order.astype(jnp.int32),
        scores=best,
        mask=jnp.ones((b, k), bool),
    )
