"""BMN's labels, made on the device, and its loss (Lin et al. 2019, section 4.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, PRNGKeyArray

from tal_jax.losses.elementwise import balanced_logistic
from tal_jax.losses.reduction import draw, masked_mean
from tal_jax.models.bmn import BMNOutput
from tal_jax.ops.boundary_matching import cell_segments
from tal_jax.segments import pairwise_iou
from tal_jax.types import Array, Scalar


def boundary_labels(
    boundaries: Float[Array, "B G"], real: Bool[Array, "B G"], snippets: int, region: float = 3.0
) -> Float[Array, "B {snippets}"]:
    """How much of each snippet lies within `region` snippets centred on a boundary; the maximum over boundaries.

    Args:
      boundaries: start (or end) times in snippet units.
      real: True where there is a boundary.
      snippets: T.
      region: width of the region.

    Returns:
      Labels in [0, 1].
    """
    low = jnp.arange(snippets, dtype=jnp.float32)[None, :, None]
    b = boundaries[:, None, :]
    overlap = jnp.minimum(low + 1, b + region / 2) - jnp.maximum(low, b - region / 2)
    overlap = jnp.where(real[:, None, :], jnp.clip(overlap, 0.0, 1.0), 0.0)
    return jnp.max(overlap, axis=-1, initial=0.0)


def map_labels(
    segments: Float[Array, "B G 2"], real: Bool[Array, "B G"], snippets: int, durations: int
) -> Float[Array, "B {snippets} {durations}"]:
    """Maximum IoU of every cell's segment [t, t + d + 1) with a ground truth."""
    cells = jnp.asarray(cell_segments(snippets, durations).reshape(1, -1, 2))
    iou = jnp.where(real[:, None, :], pairwise_iou(cells, segments), 0.0)
    return jnp.max(iou, axis=-1, initial=0.0).reshape(segments.shape[0], snippets, durations)


def bmn_loss(
    output: BMNOutput,
    segments: Float[Array, "B G 2"],
    segment_mask: Bool[Array, "B G"],
    mask: Bool[Array, "B T"],
    *,
    rng: PRNGKeyArray | None = None,
    regression_weight: Scalar = 10.0,
    classification_weight: Scalar = 1.0,
    region: float = 3.0,
    overlapping_negatives: bool = False,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Boundary + 10 x regression + classification loss.

    Boundary and classification: `balanced_logistic`, positive where the boundary label exceeds 0.5 or the cell's IoU
    0.9. Regression: half the mean squared error between sigmoid and IoU over cells above 0.7, and as many drawn from
    (0.3, 0.7] and from [0, 0.3]. Finite, and without gradient for the missing part, when there are no positives.

    Args:
      output: the network's logits.
      segments, segment_mask: ground truth.
      mask: True where a snippet is real.
      rng: draws the regression's negatives at random; None weighs all of them (see `losses.reduction.draw`).
      regression_weight, classification_weight: weights of the map's two terms.
      region: width of the boundary regions in snippets.
      overlapping_negatives: draw the lowest negatives of the regression from (0, 0.3], as JJBOY and MMAction2 do.

    Returns:
      The loss and its parts.
    """
    _, t, d = output.regression.shape
    boundary = jnp.zeros(())
    for logits, side in ((output.start, 0), (output.end, 1)):
        label = boundary_labels(segments[..., side], segment_mask, t, region)
        boundary += balanced_logistic(logits, label > 0.5, mask)

    iou = map_labels(segments, segment_mask, t, d)
    high = (iou > 0.7) & output.valid
    middle = (iou > 0.3) & (iou <= 0.7) & output.valid
    low = (iou <= 0.3) & output.valid
    if overlapping_negatives:
        low &= iou > 0
    count = jnp.sum(high, dtype=jnp.float32)
    keys = (None, None) if rng is None else jax.random.split(rng)
    weights = high.astype(jnp.float32) + draw(middle, count, keys[0]) + draw(low, count, keys[1])
    regression = 0.5 * masked_mean((jax.nn.sigmoid(output.regression) - iou) ** 2, weights)
    classification = balanced_logistic(output.classification, iou > 0.9, output.valid)
    loss = boundary + regression_weight * regression + classification_weight * classification
    return loss, {"boundary": boundary, "regression": regression, "classification": classification}
