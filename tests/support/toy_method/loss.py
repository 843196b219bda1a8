"""Cross-entropy of every snippet's classes, and the distances' error where there is an action."""

import jax.numpy as jnp
import optax

from tal_jax.losses.reduction import masked_mean


def targets(batch):
    """Classes [B, T, K] and distances [B, T, 2] of the centres of snippets, and which of them lie in an action."""
    centre = jnp.arange(batch.features.shape[1], dtype=jnp.float32) + 0.5
    start = centre[None, :, None] - batch.segments[:, None, :, 0]
    end = batch.segments[:, None, :, 1] - centre[None, :, None]
    inside = (start > 0) & (end > 0) & batch.segment_mask[:, None]  # [B, T, G]
    label = jnp.arange(batch.labels.shape[-1])[None, None] == batch.segment_labels[..., None]  # [B, G, K]
    classes = jnp.any(inside[..., None] & label[:, None], axis=2).astype(jnp.float32)
    which = jnp.argmax(inside, axis=2)[..., None]
    distances = [jnp.take_along_axis(d, which, axis=2)[..., 0] for d in (start, end)]
    return classes, jnp.stack(distances, axis=-1), jnp.any(inside, axis=2) & batch.mask


def point_loss(logits, distances, batch):
    classes, wanted, inside = targets(batch)
    real = jnp.broadcast_to(batch.mask[..., None], logits.shape)
    parts = {
        "classes": masked_mean(optax.sigmoid_binary_cross_entropy(logits, classes), real),
        "distances": masked_mean(jnp.abs(distances - wanted), jnp.broadcast_to(inside[..., None], wanted.shape)),
    }
    return parts["classes"] + 0.1 * parts["distances"], parts
