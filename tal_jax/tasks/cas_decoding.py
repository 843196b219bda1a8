"""From class activation sequences (CAS) to detections: classes, thresholds or regressed segments, scores, NMS."""

import flax.struct
import jax.numpy as jnp

from tal_jax.models.mgfn import scaled
from tal_jax.ops.interval_means import cumulative_sum, inner_outer, inner_outer_by_class, smooth
from tal_jax.ops.nms import soft_nms, top_k
from tal_jax.ops.threshold_runs import runs
from tal_jax.types import Array, Detections


@flax.struct.dataclass
class Decoding:
    """The numbers that turn sequences into detections; `launch.tune` chooses them, one compilation serves all."""

    smoothing: Array | float = 0.0  # seconds of the moving average over the sequence; 0: none
    class_threshold: Array | float = 0.2  # least probability of a class; the likeliest class is always kept
    lowest: Array | float = 0.1  # thresholds on the scaled sequence, evenly spaced from here
    highest: Array | float = 0.9  # to here
    inflation: Array | float = 0.25  # outer area on either side, as a fraction of the segment
    class_weight: Array | float = 0.25  # of the class's probability in the score
    nms_sigma: Array | float = 0.3
    sharpness: Array | float = 1.0  # exponent of the scaled sequence; above 1 its plateaus of medium height sink
    regressed_weight: Array | float = 1.0  # of a regressed segment's contrast, where it competes with runs


def select_classes(probabilities: Array, threshold: Array | float) -> Array:
    """The classes that are looked for: those at least as probable as the threshold, and in any case the likeliest.

    Args:
      probabilities: [B, K].
      threshold: least probability of a class.

    Returns:
      [B, K] bool; where no class reaches the threshold, True for the first of the likeliest ones alone.
    """
    # Not probabilities >= max(..): compiled, both sides may be rounded differently, and no class would be left.
    best = jnp.argmax(probabilities, axis=-1, keepdims=True) == jnp.arange(probabilities.shape[-1])[None]
    return (probabilities >= threshold) | best


def localize(
    cas: Array,
    probabilities: Array,
    mask: Array,
    stride: Array,
    segments: Array,
    decoding: Decoding,
    *,
    thresholds: int,
    max_contrast: float,
    candidates: int,
    detections: int,
    nms_method: str,
    both: bool = False,
) -> Detections:
    """Scores and suppresses candidate segments of the selected classes.

    The activation is smoothed, scaled to [0, 1] per recording and class, and raised to `sharpness`. Candidates are its
    runs at several thresholds, or, where there are regressed segments, the one of each position's M segments that
    contrasts best, at positions whose activation reaches the lowest threshold, cut to the recording; or both. Empty
    segments are dropped. Score: mean inside - mean outside + class_weight * probability. A regressed segment is the
    one of highest contrast among many, so its contrast says more than it should: beside runs it is multiplied by
    `regressed_weight`. In a recording of one snippet, or so short that smoothing averages all of it everywhere, no part
    can stand out: there the candidate is the recording itself, without contrast.

    Args:
      cas: [B, T, K] class activation sequences.
      probabilities: [B, K] that the classes occur in the row.
      mask: [B, T], True where a snippet is real.
      stride: [B] seconds per snippet.
      segments: [B, T, M, 2] regressed segments in snippet units; M = 0 where there is no regressor.
      decoding: the numbers of this decoding, which may be traced.
      thresholds: J, how many thresholds lie between `decoding.lowest` and `decoding.highest`.
      max_contrast: regressed segments with a contrast (outer - inner + 1) / 2 above it are dropped.
      candidates: how many of the best segments, over all classes, go into the NMS.
      detections: P, how many are kept after it.
      nms_method: the method of `ops.nms.soft_nms`.
      both: take runs as well where there are regressed segments.

    Returns:
      Detections [B, P] in snippet units, best first.
    """
    window = decoding.smoothing / stride
    duration = jnp.sum(mask, axis=1, dtype=jnp.float32)
    short = 2.0 * duration - 1.0 <= jnp.maximum(window, 1.0)  # half a window reaches from one end's centre to the other
    cas = jnp.where(short[:, None, None], 0.0, scaled(smooth(cas, mask, window), mask))
    # Compiled, the minimum may be rounded to just below the value it was taken from: no power of that.
    cas = jnp.maximum(cas, 0.0) ** decoding.sharpness
    selected = select_classes(probabilities, decoding.class_threshold)
    sums = cumulative_sum(cas, mask)
    parts = []
    if segments.shape[2]:
        found, contrast, usable = _regressed(cas, sums, segments, mask, duration, decoding)
        usable &= (1.0 - contrast) / 2.0 <= max_contrast
        parts.append((found, contrast * decoding.regressed_weight if both else contrast, usable))
    if both or not parts:
        levels = decoding.lowest + (decoding.highest - decoding.lowest) * jnp.linspace(0.0, 1.0, thresholds)
        parts.append(_thresholded(cas, sums, mask, duration, levels, decoding))
    b, k = probabilities.shape
    whole = jnp.broadcast_to(jnp.stack([jnp.zeros_like(duration), duration], axis=-1)[:, None, None], (b, 1, k, 2))
    parts.append((whole, jnp.zeros((b, 1, k)), jnp.broadcast_to(short[:, None, None], (b, 1, k))))
    found, contrast, usable = (jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    score = contrast + decoding.class_weight * probabilities[:, None, :]
    usable &= selected[:, None, :] & (found[..., 1] > found[..., 0])
    everything = Detections(
        segments=found.reshape(b, -1, 2),
        labels=jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32), score.shape).reshape(b, -1),
        scores=jnp.where(usable, jnp.maximum(score, 0.0), 0.0).reshape(b, -1),
        mask=(usable & (score > 0)).reshape(b, -1),
    )
    return soft_nms(
        top_k(everything, candidates), method=nms_method, sigma=decoding.nms_sigma, top_k=detections, min_score=1e-4
    )


def _thresholded(
    cas: Array, sums: Array, mask: Array, duration: Array, levels: Array, decoding: Decoding
) -> tuple[Array, Array, Array]:
    """Runs at all levels: segments [B, J T, K, 2], contrast [B, J T, K] and which are real."""
    found, first = runs(cas, mask, levels)  # [B, J, T, K, ..]
    b, j, t, k = first.shape
    inner, outer = inner_outer_by_class(sums, found.reshape(b, j * t, k, 2), duration, inflation=decoding.inflation)
    return found.reshape(b, j * t, k, 2), inner - outer, first.reshape(b, j * t, k)


def _regressed(
    cas: Array, sums: Array, segments: Array, mask: Array, duration: Array, decoding: Decoding
) -> tuple[Array, Array, Array]:
    """Each position's best anchor for each class, cut to the recording: as `_thresholded`, with N = T."""
    inner, outer = inner_outer(sums, segments, duration, inflation=decoding.inflation)  # [B, T, M, K]
    contrast = inner - outer
    best = jnp.argmax(contrast, axis=2)  # [B, T, K]
    found = jnp.take_along_axis(segments[:, :, :, None], best[:, :, None, :, None], axis=2)[:, :, 0]
    found = jnp.clip(found, 0.0, duration[:, None, None, None])
    return found, jnp.max(contrast, axis=2), mask[..., None] & (cas >= decoding.lowest)


def merge_windows(detections: Detections, *, method: str, sigma: Array | float) -> Detections:
    """NMS over the windows of a recording; nothing is dropped, overlapping detections lose score.

    Args:
      detections: [B, P], the detections of all windows side by side.
      method: the method of `ops.nms.soft_nms`.
      sigma: the width of its Gaussian, where the method has one.

    Returns:
      [B, P], best first.
    """
    return soft_nms(detections, method=method, sigma=sigma, top_k=detections.scores.shape[-1])
