"""ActionFormer's labels and losses at the points of a pyramid (Zhang et al. 2022, arXiv:2202.07925, section 3.3).

Letters: B batch, M points, G ground-truth slots, K classes. Positions are on the points' own axis, see `PointLabels`.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Float32, Int

from tal_jax.models.pyramid import Points
from tal_jax.types import Array, Scalar

SAME_LENGTH = 1e-3  # segments of which lengths differ by no more than that share a point's classes


@flax.struct.dataclass
class PointLabels:
    """What every point is to learn."""

    classes: Float32[Array, "B M K"]  # 1 for every class of the point
    distances: Float32[Array, "B M 2"]  # to start and end, in units of the point's stride; read where positive
    positive: Bool[Array, "B M"]


def label_points(
    points: Points,
    ranges: tuple[tuple[float, float], ...],
    segments: Float[Array, "B G 2"],
    labels: Int[Array, "B G"],
    segment_mask: Bool[Array, "B G"],
    num_classes: int,
    radius: float,
) -> PointLabels:
    """Which action each point belongs to.

    A point at t of stride s is a candidate for a segment [a, b] with centre c where it lies inside of
    [max(c - radius s, a), min(c + radius s, b)] and max(t - a, b - t) is in the range of its level, both ends included.
    Of several the shortest one gives the distances, (t - a) / s and (b - t) / s; classes are those of all candidates
    that are no longer than it (by SAME_LENGTH).

    Args:
      points: of the pyramid.
      ranges: (least, largest) reach of each level, in snippets.
      segments: (start, end) on the axis of the points' positions.
      labels: classes in [0, K).
      segment_mask: True where a segment is real.
      num_classes: K.
      radius: of the centre, in units of the points' strides.
    """
    if segments.shape[1] == 0:
        b, m = segments.shape[0], len(points.position)
        return PointLabels(jnp.zeros((b, m, num_classes)), jnp.zeros((b, m, 2)), jnp.zeros((b, m), bool))
    limits = np.asarray(ranges, np.float32)[points.level]  # [M, 2]
    t, s = (x[None, :, None] for x in (points.position, points.stride))
    start, end = segments[:, None, :, 0], segments[:, None, :, 1]  # [B, 1, G]
    before, after = t - start, end - t  # [B, M, G]
    centre = 0.5 * (start + end)
    inside = jnp.minimum(t - jnp.maximum(centre - radius * s, start), jnp.minimum(centre + radius * s, end) - t) > 0
    reach = jnp.maximum(before, after)
    fits = (reach >= limits[None, :, :1]) & (reach <= limits[None, :, 1:])
    length = jnp.where(inside & fits & segment_mask[:, None], end - start, jnp.inf)
    shortest = jnp.min(length, axis=-1)  # [B, M]
    positive = jnp.isfinite(shortest)
    shares = length <= jnp.where(positive, shortest, -1.0)[..., None] + SAME_LENGTH
    own = jax.nn.one_hot(labels, num_classes)  # [B, G, K]
    classes = jnp.einsum("bmg,bgk->bmk", shares.astype(jnp.float32), own)
    best = jnp.argmin(length, axis=-1)[..., None]
    distances = jnp.concatenate([jnp.take_along_axis(x, best, axis=-1) for x in (before, after)], axis=-1)
    return PointLabels(jnp.minimum(classes, 1.0), distances / s, positive)


def distance_iou_loss(
    found: Float[Array, "*N 2"], targets: Float[Array, "*N 2"]
) -> tuple[Float[Array, "*N"], Float[Array, "*N"]]:
    """1 - IoU + (distance of the centres / smallest cover)^2 (Zheng et al. 2020, arXiv:1911.08287), along one axis.

    Args:
      found, targets: distances from one point to the start and to the end of two segments, not negative.

    Returns:
      The loss of every pair, and its IoU.
    """
    overlap = jnp.sum(jnp.minimum(found, targets), axis=-1)
    union = jnp.sum(found + targets, axis=-1) - overlap
    cover = jnp.sum(jnp.maximum(found, targets), axis=-1)
    iou = overlap / jnp.maximum(union, 1e-8)
    apart = ((found[..., 1] - found[..., 0]) - (targets[..., 1] - targets[..., 0])) / 2
    return 1 - iou + (apart / jnp.maximum(cover, 1e-8)) ** 2, iou


def pyramid_loss(
    logits: Float32[Array, "B M K"],
    distances: Float32[Array, "B M D 2"],
    mask: Bool[Array, "B M"],
    labels: PointLabels,
    normalizer: Scalar,
    *,
    smoothing: float = 0.0,
    regression_weight: float = 1.0,
    iou_power: float = 0.0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Focal loss of all points' classes plus DIoU loss of the positive points' distances, both sums / `normalizer`.

    The first with alpha 0.25 and gamma 2 (Lin et al. 2017, arXiv:1708.02002).

    Args:
      logits: of the classes.
      distances: D = 1 for all classes together, or K: then a point of several classes counts for each of them.
      mask: the point exists.
      labels: see `label_points`.
      normalizer: the running number of positive points, see `running_positives`.
      smoothing: e moves targets to y (1 - e) + e / (K + 1).
      regression_weight: of the second part; up to 0, both parts weigh the same.
      iou_power: the class loss of a positive is multiplied by its IoU to this power (TriDet); 0: not.

    Returns:
      The sum, a scalar, and both parts by name.
    """
    k = logits.shape[-1]
    positive = labels.positive & mask
    targets = jnp.where(positive[..., None], labels.classes, 0.0)
    by_class = distances.shape[2] > 1
    pairs = (targets > 0) if by_class else positive[..., None]  # [B, M, D]
    # A safe pair elsewhere: what padding holds must not reach the gradient.
    one = jnp.ones((), distances.dtype)
    wanted = jnp.where(positive[..., None], labels.distances, one)[:, :, None]
    loss, iou = distance_iou_loss(
        jnp.where(pairs[..., None], distances, one), jnp.broadcast_to(wanted, distances.shape)
    )
    regression = jnp.sum(jnp.where(pairs, loss, 0.0)) / normalizer
    logits = jnp.where(mask[..., None], logits, 0.0)
    soft = targets * (1 - smoothing) + smoothing / (k + 1)
    focal = optax.losses.sigmoid_focal_loss(logits, soft, alpha=0.25, gamma=2.0)
    if iou_power:
        focal = focal * jnp.where(pairs & (targets > 0), jnp.maximum(iou, 1e-8) ** iou_power, 1.0)
    classes = jnp.sum(jnp.where(mask[..., None], focal, 0.0)) / normalizer
    weight: Array | float = regression_weight
    if regression_weight <= 0:
        weight = jax.lax.stop_gradient(classes / jnp.maximum(regression, 0.01))
    return classes + weight * regression, {"class_loss": classes, "regression_loss": regression}


def running_positives(
    before: Scalar, labels: PointLabels, mask: Bool[Array, "B M"], momentum: float
) -> Float32[Array, ""]:
    """momentum * before + (1 - momentum) * max(positive points of the batch, 1)."""
    count = jnp.sum(labels.positive & mask, dtype=jnp.float32)
    return momentum * jnp.asarray(before, jnp.float32) + (1 - momentum) * jnp.maximum(count, 1.0)
