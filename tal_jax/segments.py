"""Geometry of segments (start, end): overlap, matching, regression targets and their decoding, units.

Everything is float32 in snippet units; only `to_seconds` and `to_snippets` know about seconds.
"""

import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from tal_jax.types import Array

# Widths are floored before a logarithm or a division (the released TCANet code's constant).
MIN_WIDTH = 1e-5


def to_seconds(x: Float[Array, "*B_and_more"], stride: Float[Array, "*B"]) -> Float[Array, "*B_and_more"]:
    """Snippet units to seconds: `x * stride`, with stride broadcast over the axes of x that follow its own."""
    return x * jnp.reshape(stride, stride.shape + (1,) * (x.ndim - stride.ndim))


def to_snippets(x: Float[Array, "*B_and_more"], stride: Float[Array, "*B"]) -> Float[Array, "*B_and_more"]:
    """Seconds to snippet units: `x / stride`, with stride broadcast over the axes of x that follow its own."""
    return x / jnp.reshape(stride, stride.shape + (1,) * (x.ndim - stride.ndim))


def width(segments: Float[Array, "*N 2"]) -> Float[Array, "*N"]:
    """Length of segments; negative where the ends are swapped."""
    return segments[..., 1] - segments[..., 0]


def pairwise_iou(a: Float[Array, "*#B P 2"], b: Float[Array, "*#B G 2"]) -> Float[Array, "*#B P G"]:
    """Temporal intersection over union of segments a and b, in [0, 1].

    Empty or swapped segments have length 0; the IoU of two empty ones is 0.
    """
    start = jnp.maximum(a[..., :, None, 0], b[..., None, :, 0])
    end = jnp.minimum(a[..., :, None, 1], b[..., None, :, 1])
    overlap = jnp.maximum(end - start, 0.0)
    total = jnp.maximum(width(a), 0.0)[..., :, None] + jnp.maximum(width(b), 0.0)[..., None, :]
    union = total - overlap
    return jnp.where(union > 0, overlap / jnp.where(union > 0, union, 1.0), 0.0)


def match(
    proposals: Float[Array, "B P 2"], segments: Float[Array, "B G 2"], segment_mask: Bool[Array, "B G"]
) -> tuple[Float[Array, "B P"], Int[Array, "B P"]]:
    """The ground-truth segment each proposal overlaps most.

    Args:
      proposals: (start, end), in the same unit as the segments.
      segments: (start, end) of the ground truth.
      segment_mask: True where a segment is real.

    Returns:
      IoU with the best real segment (0 without any), and that segment's index into G.
    """
    if segments.shape[-2] == 0:
        return jnp.zeros(proposals.shape[:-1], jnp.float32), jnp.zeros(proposals.shape[:-1], jnp.int32)
    # -1 keeps a padded slot from winning over a real one that merely does not overlap.
    iou = jnp.where(segment_mask[..., None, :], pairwise_iou(proposals, segments), -1.0)
    return jnp.maximum(jnp.max(iou, axis=-1), 0.0), jnp.argmax(iou, axis=-1)


def encode_center(proposals: Float[Array, "*N 2"], targets: Float[Array, "*N 2"]) -> Float[Array, "*N 2"]:
    """(dx, dw) = ((x_g - x_p) / w_p, log(w_g / w_p)), the inverse of `decode_center`."""
    w_p = jnp.maximum(width(proposals), MIN_WIDTH)
    w_g = jnp.maximum(width(targets), MIN_WIDTH)
    dx = (jnp.sum(targets, axis=-1) - jnp.sum(proposals, axis=-1)) / (2.0 * w_p)
    return jnp.stack([dx, jnp.log(w_g / w_p)], axis=-1)


def decode_center(proposals: Float[Array, "*N 2"], offsets: Float[Array, "*N 2"]) -> Float[Array, "*N 2"]:
    """Equations 14 and 15 with offsets (dx, dw) added: x = x_p + dx w_p, w = w_p exp(dw).

    The report writes the centre offset with a minus sign; the sign is absorbed by the network's last layer, and adding
    is what the released code and its checkpoints do.
    """
    w_p = width(proposals)
    x = jnp.mean(proposals, axis=-1) + offsets[..., 0] * w_p
    w = w_p * jnp.exp(offsets[..., 1])
    return jnp.stack([x - w / 2, x + w / 2], axis=-1)


def encode_ends(proposals: Float[Array, "*N 2"], targets: Float[Array, "*N 2"]) -> Float[Array, "*N 2"]:
    """(ds, de) = ((s_g - s_p) / w_p, (e_g - e_p) / w_p), the inverse of `decode_ends`."""
    return (targets - proposals) / jnp.maximum(width(proposals), MIN_WIDTH)[..., None]


def decode_ends(proposals: Float[Array, "*N 2"], offsets: Float[Array, "*N 2"]) -> Float[Array, "*N 2"]:
    """Equation 13 with offsets (ds, de) added: s = s_p + ds w_p, e = e_p + de w_p."""
    return proposals + offsets * width(proposals)[..., None]
