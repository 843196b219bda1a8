"""Soft-NMS over batches of recordings, on the device (Bodla et al. 2017, arXiv:1704.04503)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Float32, Int

from tal_jax.segments import pairwise_iou
from tal_jax.types import Array, Detections, Scalar


def soft_nms(
    detections: Detections,
    *,
    method: str = "gaussian",
    sigma: Scalar = 0.4,
    power: float = 2.0,
    threshold: Float[Array, "#B #P"] | Scalar = 0.0,
    top_k: int = 100,
    min_score: Scalar = 0.0,
    class_agnostic: bool = False,
) -> Detections:
    """Picks the best detection again and again, and lowers the scores of those that overlap it.

    An overlap iou > threshold with the picked one multiplies the score by
      gaussian: exp(-iou^power / sigma) (power 2 in BMN, 2.5 in the released TCANet),
      linear: 1 - iou,
      hard: 0; with a min_score above 0 this is classic NMS.

    Args:
      detections: scores in [0, inf); any order.
      method, sigma, power: the decay as above.
      threshold: overlaps up to it do not count; an array gives every detection its own, used when it is the picked one
        (BMN's grows with the detection's length).
      top_k: how many are kept, M.
      min_score: picks below it are masked.
      class_agnostic: let detections of different labels suppress each other.

    Returns:
      Detections with P = min(top_k, P), best first. Ties go to the lower index. Padding is masked and scores 0.
    """
    order, scores, kept = soft_nms_order(
        detections,
        method=method,
        sigma=sigma,
        power=power,
        threshold=threshold,
        top_k=top_k,
        min_score=min_score,
        class_agnostic=class_agnostic,
    )
    segments, labels = (jax.vmap(lambda x, at: x[at])(x, order) for x in (detections.segments, detections.labels))
    return Detections(
        segments=jnp.where(kept[..., None], segments, 0.0),
        labels=jnp.where(kept, labels, -1),
        scores=jnp.where(kept, scores, 0.0),
        mask=kept,
    )


def soft_nms_order(
    detections: Detections,
    *,
    method: str = "gaussian",
    sigma: Scalar = 0.4,
    power: float = 2.0,
    threshold: Float[Array, "#B #P"] | Scalar = 0.0,
    top_k: int = 100,
    min_score: Scalar = 0.0,
    class_agnostic: bool = False,
    systems: Int[Array, "B P"] | None = None,
) -> tuple[Int[Array, "B M"], Float32[Array, "B M"], Bool[Array, "B M"]]:
    """The picks of `soft_nms`, whose arguments these are.

    Args:
      systems: the systems that found a detection as a set of bits. Those that share one do not suppress
        each other: they went through that system's own NMS.

    Returns:
      Positions in the order of picking, scores at that moment, and which count.
    """
    if method not in ("gaussian", "linear", "hard"):
        raise ValueError(f"method is 'gaussian', 'linear' or 'hard', not {method!r}")

    def decay(iou: Array, limit: Array) -> Array:
        if method == "gaussian":
            factor: Array = jnp.exp(-_power(iou, power) / sigma)
        else:
            factor = 1.0 - iou if method == "linear" else jnp.zeros_like(iou)
        return jnp.where((iou > limit) & (iou > 0), factor, 1.0)

    limits = jnp.broadcast_to(jnp.asarray(threshold, jnp.float32), detections.scores.shape)
    positions = jnp.arange(detections.scores.shape[1], dtype=jnp.int32)

    def one(d: Detections, limits: Array, systems: Array | None) -> tuple[Array, Array, Array]:  # of one recording
        def pick(scores, _):
            best = _first_of(scores, jnp.max(scores))
            iou = pairwise_iou(jnp.take_along_axis(d.segments, best[None, None], axis=0), d.segments)[0]
            if not class_agnostic:
                iou = jnp.where(d.labels == d.labels[best], iou, 0.0)
            if systems is not None:
                iou = jnp.where(systems & systems[best], 0.0, iou)
            rest = jnp.where(scores >= 0, scores * decay(iou, limits[best]), scores)
            # A picked one leaves the contest: -1 is below every score. (By comparison: not everywhere that exported
            # programs go is there a scatter.)
            return jnp.where(positions == best, -1.0, rest), (best, scores[best])

        start = jnp.where(d.mask, d.scores.astype(jnp.float32), -1.0)
        _, (order, scores) = lax.scan(pick, start, length=min(top_k, d.scores.shape[0]))
        return order, scores, (scores >= min_score) & (scores >= 0)

    return jax.vmap(one)(detections, limits, systems)


def _first_of(scores: Array, value: Array) -> Array:
    """The first position of a value in scores [P]: with the value a maximum, argmax as two plain reductions.

    A reduction of pairs (value, index) is not vectorised on CPUs and takes five times as long.
    """
    positions = jnp.arange(scores.shape[0], dtype=jnp.int32)
    return jnp.min(jnp.where(scores == value, positions, scores.shape[0] - 1))


def _power(x: Array, power: float) -> Array:
    """x^power for x in [0, 1]; multiples of one half without a logarithm, which would be most of the time."""
    if 2 * power == int(2 * power) and 0 < power <= 4:
        root: Any = jnp.sqrt(jnp.where(x > 0, x, 1.0)) if power != int(power) else 1.0
        return functools.reduce(jnp.multiply, [x] * int(power), root)
    # The guard keeps the gradient of a fractional power finite at 0.
    return jnp.where(x > 0, x, 1.0) ** power


def top_k(detections: Detections, k: int) -> Detections:
    """The k best detections of every recording, best first. P = min(k, P)."""
    k = min(k, detections.scores.shape[-1])
    _, order = lax.top_k(jnp.where(detections.mask, detections.scores, -jnp.inf), k)
    return jax.tree.map(
        lambda x: jnp.take_along_axis(
            x, order.reshape(order.shape + (1,) * (x.ndim - 2)), axis=1, mode="promise_in_bounds"
        ),
        detections,
    )
