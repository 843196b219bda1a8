"""The outer-inner-contrastive loss: boundaries learned from a class activation sequence (report, section 3.1)."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float

from tal_jax.losses.reduction import masked_mean
from tal_jax.ops.interval_means import cumulative_sum, inner_outer, inner_outer_by_class
from tal_jax.types import Array, Scalar


def contrast(
    cas: Float[Array, "B T K"],
    segments: Float[Array, "B *N 2"],
    mask: Bool[Array, "B T"],
    *,
    inflation: Scalar,
) -> Float[Array, "B *N K"]:
    """(outer - inner + 1) / 2 of every segment and class, in [0, 1]; low is good (AutoLoc, Shou et al. 2018).

    Args:
      cas: activations in [0, 1].
      segments: in snippet units.
      mask: True where a snippet is real.
      inflation: gamma, the outer area's width on either side as a fraction of the segment's.
    """
    duration = jnp.sum(mask, axis=1, dtype=jnp.float32)
    inner, outer = inner_outer(cumulative_sum(cas, mask), segments, duration, inflation=inflation)
    return (outer - inner + 1.0) / 2.0


def oic_loss(
    cas: Float[Array, "B T K"],
    segments: Float[Array, "B T M 2"],
    mask: Bool[Array, "B T"],
    labels: Float[Array, "B K"],
    *,
    inflation: Scalar = 0.25,
    min_activation: Scalar = 0.1,
    max_contrast: Scalar = 0.7,
    max_classes: int = 8,
) -> Float[Array, ""]:
    """Mean contrast of the best anchor of every position and class that takes part.

    A position takes part for a class of the recording whose activation there exceeds `min_activation`; of its anchors
    only the one with the lowest contrast counts, and only while that is below `max_contrast`: the negative segments are
    dropped.

    Args:
      cas: activations in [0, 1].
      segments: the regressed anchors, in snippet units.
      mask: True where a snippet is real.
      labels: 1 for the classes of the recording.
      inflation, min_activation, max_contrast: see above.
      max_classes: of a recording with more classes only the first ones count. With 200 classes, of which a recording
        has one or two, this is most of the loss's time.

    Returns:
      The loss; 0 where nothing takes part.
    """
    if labels.shape[1] > max_classes:
        labels, index = lax.top_k(labels, max_classes)
        cas = jnp.take_along_axis(cas, index[:, None, :], axis=2)
    # Which anchor is best is no matter of differentiation; only the chosen ones are then scored with gradients. (The
    # gradient of jnp.min would look for elements equal to the minimum, and find none where the compiler, computing the
    # scores a second time, rounds them differently.)
    duration = jnp.sum(mask, axis=1, dtype=jnp.float32)
    constant = lax.stop_gradient(segments)
    choice = jnp.argmin(contrast(lax.stop_gradient(cas), constant, mask, inflation=inflation), axis=2)  # [B, T, K]
    chosen = jnp.take_along_axis(segments[:, :, :, None], choice[:, :, None, :, None], axis=2)[:, :, 0]
    inner, outer = inner_outer_by_class(cumulative_sum(cas, mask), chosen, duration, inflation=inflation)
    best = (outer - inner + 1.0) / 2.0  # [B, T, K]
    taking_part = mask[..., None] & (labels[:, None, :] > 0) & (cas > min_activation) & (best < max_contrast)
    return masked_mean(best, taking_part)
