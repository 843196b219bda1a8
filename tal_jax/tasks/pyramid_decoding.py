"""From what a pyramid's points say to detections: the best pairs of point and class, soft-NMS, and voting."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.models.actionformer import PyramidOutput
from tal_jax.models.pyramid import Points
from tal_jax.ops.nms import soft_nms, top_k
from tal_jax.segments import pairwise_iou
from tal_jax.types import Array, Detections


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How detections are chosen. Lengths are in snippets."""

    candidates: int = 2000  # pairs of point and class that each level hands on
    least_score: float = 0.001  # of those, and of a detection after soft-NMS
    least_length: float = 0.05
    detections: int = 200  # that soft-NMS keeps
    sigma: float = 0.5
    class_agnostic: bool = False  # detections of different classes suppress each other
    voting: float = 0.0  # IoU from which candidates vote on a detection's ends; 0: none
    voting_by_iou: bool = True  # votes weigh by score x IoU, not by the score alone


def decode_points(output: PyramidOutput, points: Points, offset: float, decoding: Decoding) -> Detections:
    """The detections of every row, in snippet units and not cut to the recording.

    Args:
      output: what the network says at the points.
      points: those of the output.
      offset: where position 0 lies, in snippet units.
      decoding: see there.

    Returns:
      Detections [B, P], best first; P depends on shapes alone.
    """
    b, _, k = output.class_logits.shape
    parts = []
    for level in range(int(points.level[-1]) + 1):
        first, last = np.searchsorted(points.level, [level, level + 1])
        own = slice(first, last)
        scores = jax.nn.sigmoid(output.class_logits[:, own].astype(jnp.float32))
        at = (points.position[own] + offset)[None, :, None]
        stride = points.stride[own][None, :, None]
        distances = output.distances[:, own]  # [B, M, D, 2]
        segments = jnp.stack([at - stride * distances[..., 0], at + stride * distances[..., 1]], axis=-1)
        segments = jnp.broadcast_to(segments, (b, last - first, k, 2))
        real = output.mask[:, own, None] & (scores > decoding.least_score)
        labels = jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32)[None, None], scores.shape)
        pairs = Detections(*(x.reshape(b, -1, *x.shape[3:]) for x in (segments, labels, scores, real)))
        best = top_k(pairs, decoding.candidates)
        long = best.segments[..., 1] - best.segments[..., 0] > decoding.least_length
        parts.append(dataclasses.replace(best, mask=best.mask & long))
    found = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts)
    return suppressed(found, decoding, decoding.detections)


def suppressed(found: Detections, decoding: Decoding, kept: int) -> Detections:
    """Gaussian soft-NMS, and the votes of all that went into it on the ends of what it keeps."""
    chosen = soft_nms(
        found,
        sigma=decoding.sigma,
        top_k=kept,
        min_score=decoding.least_score,
        class_agnostic=decoding.class_agnostic,
    )
    if decoding.voting <= 0:
        return chosen
    iou = pairwise_iou(chosen.segments, found.segments)
    counts = (iou >= decoding.voting) & found.mask[:, None]
    if not decoding.class_agnostic:
        counts &= chosen.labels[..., None] == found.labels[:, None]
    weights = jnp.where(counts, found.scores[:, None], 0.0)
    if decoding.voting_by_iou:
        weights = weights * iou
    total = jnp.sum(weights, axis=-1)[..., None]
    ends = _weighted(weights, found.segments) / jnp.where(total > 0, total, 1.0)
    return dataclasses.replace(chosen, segments=jnp.where(total > 0, ends, chosen.segments))


def _weighted(weights: Array, segments: Array) -> Array:
    """[B, P, M] with [B, M, 2], in full precision: they are coordinates."""
    return jnp.einsum("bpm,bme->bpe", weights, segments, precision=jax.lax.Precision.HIGHEST)


def with_video_classes(found: Detections, scores: Array, classes: int, detections: int) -> Detections:
    """Class-agnostic detections times the best classes of their recordings.

    Args:
      found: [B, P], best first.
      scores: [B, K] probabilities that each class occurs in the recording.
      classes: how many of the best ones each detection takes.
      detections: how many of `found` take part.

    Returns:
      [B, detections x classes], best first, with the scores sqrt(score x probability of the class).
    """
    found = jax.tree.map(lambda x: x[:, :detections], found)
    best, labels = jax.lax.top_k(scores, min(classes, scores.shape[-1]))
    shape = (*found.scores.shape, best.shape[-1])
    joint = jnp.sqrt(found.scores[..., None] * jnp.maximum(best, 0.0)[:, None])
    crossed = Detections(
        segments=jnp.broadcast_to(found.segments[:, :, None], (*shape, 2)),
        labels=jnp.broadcast_to(labels[:, None].astype(jnp.int32), shape),
        scores=joint,
        mask=found.mask[..., None] & (best[:, None] > 0),
    )
    flat = jax.tree.map(lambda x: x.reshape(len(x), -1, *x.shape[3:]), crossed)
    return top_k(flat, flat.scores.shape[1])
