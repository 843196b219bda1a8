"""Geometry of segments [..., 2] = (start, end): overlap, matching, regression targets and their decoding, units.

Everything is float32 in snippet units; only `to_seconds` and `to_snippets` know about seconds.
"""

import jax.numpy as jnp

from tal_jax.types import Array

# Widths are floored before a logarithm or a division (the released TCANet code's constant).
MIN_WIDTH = 1e-5


def to_seconds(x: Array, stride: Array) -> Array:
    """Snippet units to seconds: `x * stride`, with stride [B] broadcast over the trailing axes of x [B, ...]."""
    return x * jnp.reshape(stride, stride.shape + (1,) * (x.ndim - stride.ndim))


def to_snippets(x: Array, stride: Array) -> Array:
    """Seconds to snippet units: `x / stride`, with stride [B] broadcast over the trailing axes of x [B, ...]."""
    return x / jnp.reshape(stride, stride.shape + (1,) * (x.ndim - stride.ndim))


def width(segments: Array) -> Array:
    """Length of segments [..., 2] -> [...]; negative where the ends are swapped."""
    return segments[..., 1] - segments[..., 0]


def pairwise_iou(a: Array, b: Array) -> Array:
    """Temporal intersection over union of segments a [..., P, 2] and b [..., G, 2] -> [..., P, G] in [0, 1].

    Empty or swapped segments have length 0; the IoU of two empty ones is 0.
    """
    start = jnp.maximum(a[..., :, None, 0], b[..., None, :, 0])
    end = jnp.minimum(a[..., :, None, 1], b[..., None, :, 1])
    overlap = jnp.maximum(end - start, 0.0)
    total = jnp.maximum(width(a), 0.0)[..., :, None] + jnp.maximum(width(b), 0.0)[..., None, :]
    union = total - overlap
    return jnp.where(union > 0, overlap / jnp.where(union > 0, union, 1.0), 0.0)


def match(proposals: Array, segments: Array, segment_mask: Array) -> tuple[Array, Array]:
    """The ground-truth segment each proposal overlaps most.

    Args:
      proposals: [B, P, 2] (start, end), in the same unit as the segments.
      segments: [B, G, 2] (start, end) of the ground truth.
      segment_mask: [B, G], True where a segment is real.

    Returns:
      iou [B, P] float32 with the best real segment (0 without any), and that segment's index [B, P] int32 into G.
    """
    if segments.shape[-2] == 0:
        return jnp.zeros(proposals.shape[:-1], jnp.float32), jnp.zeros(proposals.shape[:-1], jnp.int32)
    # -1 keeps a padded slot from winning over a real one that merely does not overlap.
    iou = jnp.where(segment_mask[..., None, :], pairwise_iou(proposals, segments), -1.0)
    return jnp.maximum(jnp.max(iou, axis=-1), 0.0), jnp.argmax(iou, axis=-1)


def encode_center(proposals: Array, targets: Array) -> Array:
    """(dx, dw) = ((x_g - x_p) / w_p, log(w_g / w_p)), the inverse of `decode_center`. [..., 2] -> [..., 2]."""
    w_p = jnp.maximum(width(proposals), MIN_WIDTH)
    w_g = jnp.maximum(width(targets), MIN_WIDTH)
    dx = (jnp.sum(targets, axis=-1) - jnp.sum(proposals, axis=-1)) / (2.0 * w_p)
    return jnp.stack([dx, jnp.log(w_g / w_p)], axis=-1)


def decode_center(proposals: Array, offsets: Array) -> Array:
    """Equations 14 and 15 with offsets (dx, dw) added: x = x_p + dx w_p, w = w_p exp(dw). [..., 2] -> [..., 2].

    The report writes the centre offset with a minus sign; the sign is absorbed by the network's last layer, and adding
    is what the released code and its checkpoints do.
    """
    w_p = width(proposals)
    x = jnp.mean(proposals, axis=-1) + offsets[..., 0] * w_p
    w = w_p * jnp.exp(offsets[..., 1])
    return jnp.stack([x - w / 2, x + w / 2], axis=-1)


def encode_ends(proposals: Array, targets: Array) -> Array:
    """(ds, de) = ((s_g - s_p) / w_p, (e_g - e_p) / w_p), the inverse of `decode_ends`. [..., 2] -> [..., 2]."""
    return (targets - proposals) / jnp.maximum(width(proposals), MIN_WIDTH)[..., None]


def decode_ends(proposals: Array, offsets: Array) -> Array:
    """Equation 13 with offsets (ds, de) added: s = s_p + ds w_p, e = e_p + de w_p. [..., 2] -> [..., 2]."""
    return proposals + offsets * width(proposals)[..., None]
