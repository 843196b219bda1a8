"""TCANet's losses: regression on both levels, confidence, and the segment-level class head."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from tal_jax import segments as geometry
from tal_jax.losses.elementwise import sigmoid_cross_entropy, sigmoid_focal, smooth_l1
from tal_jax.losses.reduction import draw, masked_mean
from tal_jax.models.tbr import RegressorOutput
from tal_jax.types import Array, Scalar


def stage_loss(
    output: RegressorOutput,
    segments: Float[Array, "B G 2"],
    segment_labels: Int[Array, "B G"],
    segment_mask: Bool[Array, "B G"],
    proposal_mask: Bool[Array, "B P"],
    *,
    threshold: Scalar,
    rng: PRNGKeyArray | None = None,
    regression_beta: Scalar = 1.0,
    class_target: str = "iou",
    class_threshold: Scalar = 0.5,
    matched: Int[Array, "B P"] | None = None,
) -> dict[str, Float[Array, ""]]:
    """The losses of one regressor.

    Every proposal answers to the ground truth it overlaps most, with IoU u.
      ends, center: smooth L1 between offsets and their targets, summed over the two, averaged over u >= threshold.
      confidence: smooth L1 between sigmoid(iou_logit) and u over u > threshold and as many drawn from (0.3, threshold]
        and from [0, 0.3].
      classes: focal cross-entropy (gamma 2) over proposals and classes; the target of the matched class is u
        (class_target="iou") or 1 where u >= class_threshold ("hard"), of all others 0; divided by the number of
        proposals with u >= class_threshold, at least 1.
    All are 0, not NaN, where nothing is left to average.

    Args:
      output: what the regressor says about its proposals.
      segments, segment_labels, segment_mask: ground truth.
      proposal_mask: True where a proposal is real.
      threshold: the stage's IoU threshold.
      rng: draws negatives at random, None uses the expectation (`losses.reduction.draw`).
      regression_beta: where the regression's smooth L1 turns from quadratic to linear; the released code has 1, which
        is quadratic nearly everywhere, a small value asks for the median and sharpens boundaries.
      class_target, class_threshold: see above.
      matched: index of the ground truth that each proposal answers to instead, as in the released code, where
        all stages have the first one's.

    Returns:
      Losses by name.
    """
    iou, index = geometry.match(output.proposals, segments, segment_mask)
    if matched is not None:
        index = matched
    target = jnp.take_along_axis(segments, index[..., None], axis=1)
    if matched is not None:
        iou = geometry.pairwise_iou(output.proposals[..., None, :], target[..., None, :])[..., 0, 0]
        iou = jnp.where(jnp.take_along_axis(segment_mask, index, axis=1), iou, 0.0)
    positive = (iou >= threshold) & proposal_mask
    ends = jnp.sum(smooth_l1(output.ends - geometry.encode_ends(output.proposals, target), regression_beta), axis=-1)
    center = jnp.sum(
        smooth_l1(output.center - geometry.encode_center(output.proposals, target), regression_beta), axis=-1
    )

    high = (iou > threshold) & proposal_mask
    middle = (iou > 0.3) & (iou <= threshold) & proposal_mask
    low = (iou <= 0.3) & proposal_mask
    count = jnp.sum(high, dtype=jnp.float32)
    keys = (None, None) if rng is None else jax.random.split(rng)
    weights = high.astype(jnp.float32) + draw(middle, count, keys[0]) + draw(low, count, keys[1])
    losses = {
        "ends": masked_mean(ends, positive),
        "center": masked_mean(center, positive),
        "confidence": masked_mean(smooth_l1(jax.nn.sigmoid(output.iou_logit) - iou), weights),
    }
    classes = output.class_logits.shape[-1]
    if classes:
        label = jnp.take_along_axis(segment_labels, index, axis=1)
        hit = (iou >= class_threshold) & proposal_mask
        value = jnp.where(hit, iou if class_target == "iou" else 1.0, 0.0)
        y = jax.nn.one_hot(label, classes, dtype=jnp.float32) * value[..., None]
        terms = jnp.where(proposal_mask[..., None], sigmoid_focal(output.class_logits, y), 0.0)
        losses["classes"] = jnp.sum(terms) / jnp.maximum(jnp.sum(hit, dtype=jnp.float32), 1.0)
    return losses


def video_class_loss(logits: Float[Array, "B K"], labels: Float[Array, "B K"]) -> Float[Array, ""]:
    """Sigmoid cross-entropy of video-level logits against multi-hot labels, mean over both axes."""
    return masked_mean(sigmoid_cross_entropy(logits, labels), jnp.ones_like(labels))


def snippet_class_loss(
    logits: Float[Array, "B T K"],
    segments: Float[Array, "B G 2"],
    segment_labels: Int[Array, "B G"],
    segment_mask: Bool[Array, "B G"],
    mask: Bool[Array, "B T"],
) -> Float[Array, ""]:
    """Dense supervision of the encoder: sigmoid cross-entropy of every snippet's classes, mean over real snippets.

    A snippet belongs to the classes of the segments that hold its centre. Not in the report; it is how a small training
    set teaches the encoder where classes begin and end.

    Args:
      logits: of every snippet and class.
      segments, segment_labels, segment_mask: ground truth.
      mask: True where a snippet is real.

    Returns:
      The loss, summed over classes.
    """
    centre = jnp.arange(mask.shape[1], dtype=jnp.float32)[None, :, None] + 0.5
    inside = (centre >= segments[:, None, :, 0]) & (centre < segments[:, None, :, 1]) & segment_mask[:, None, :]
    classes = jax.nn.one_hot(segment_labels, logits.shape[-1], dtype=jnp.float32)  # [B, G, K]
    target = jnp.minimum(jnp.einsum("btg,bgk->btk", inside.astype(jnp.float32), classes), 1.0)
    return masked_mean(jnp.sum(sigmoid_cross_entropy(logits, target), axis=-1), mask)
