"""From what a one-stage pyramid detector computes to detections, in plain NumPy as the released detectors do it.

One recording at a time, in float32. Times are on the grid of snippets until `seconds` converts them.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Index = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How detections are made; the defaults are ActionFormer's for THUMOS14."""

    threshold: float = 0.001  # of the score, before suppression
    topk: int = 2000  # the best of each level
    min_length: float = 0.05  # of a segment, in snippets
    sigma: float = 0.5  # of soft suppression
    min_score: float = 0.001  # what suppression leaves
    kept: int = 200
    per_class: bool = True  # suppression within classes, without voting
    voting: float = 0.7  # the IoU from which a segment votes; at most 0 for none
    votes: str = "score_iou"  # what a vote weighs, or "score"
    hard: float | None = None  # suppress at this IoU instead of softly


class Detections(NamedTuple):
    """Segments [N, 2], their scores [N] and classes [N]."""

    segments: Array
    scores: Array
    labels: Index

    def take(self, index: Index) -> "Detections":
        """Those of `index`, in its order."""
        return Detections(self.segments[index], self.scores[index], self.labels[index])


def _joined(parts: Sequence[Detections]) -> Detections:
    return Detections(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _best(found: Detections, number: int) -> Detections:
    return found.take(np.argsort(-found.scores, kind="stable")[:number])


def candidates(
    logits: Sequence[Array], distances: Sequence[Array], masks: Sequence[NDArray[np.bool_]], settings: Decoding
) -> Detections:
    """All segments before suppression, level after level.

    Per level: logits [K, T_l], distances [2, T_l] or by class [T_l, K, 2], masks [T_l].
    """
    levels = []
    for level, (logit, distance, mask) in enumerate(zip(logits, distances, masks, strict=True)):
        stride = np.float32(2**level)
        with np.errstate(over="ignore"):
            scores = (1 / (1 + np.exp(-logit.T.astype(np.float32))) * mask[:, None]).ravel()  # [T_l * K]
        above = np.flatnonzero(scores > settings.threshold)
        best = above[np.argsort(-scores[above], kind="stable")[: settings.topk]]
        point, label = np.divmod(best, logit.shape[0])
        chosen = distance[point, label] if distance.ndim == 3 else distance[:, point].T
        time = point.astype(np.float32) * stride
        segments = np.stack([time - chosen[:, 0] * stride, time + chosen[:, 1] * stride], 1).astype(np.float32)
        found = Detections(segments, scores[best].astype(np.float32), label.astype(np.int64))
        levels.append(found.take(np.flatnonzero(segments[:, 1] - segments[:, 0] > settings.min_length)))
    return _joined(levels)


def overlap(one: Array, segments: Array, extra: float = 0.0) -> Array:
    """IoU of one segment [2] with each of [N, 2], with lengths larger by `extra` -> [N]."""
    shared = np.maximum(np.minimum(one[1], segments[:, 1]) - np.maximum(one[0], segments[:, 0]), np.float32(0))
    lengths = segments[:, 1] - segments[:, 0] + np.float32(extra)
    return shared / (one[1] - one[0] + np.float32(extra) + lengths - shared)


def soft_nms(segments: Array, scores: Array, sigma: float, min_score: float, number: int) -> tuple[Index, Array]:
    """The picks, at most `number` of them, and their scores then.

    The best is picked, all others lose by their overlap with it, and those below `min_score` leave; the very first is
    picked whatever its score. Of equal scores the first is picked (the released order is an accident of swaps).
    """
    rest = np.arange(len(segments))
    scores = scores.astype(np.float32)
    picks: list[np.int64] = []
    worth: list[np.float32] = []
    while len(rest) and len(picks) < number:
        at = int(np.argmax(scores))
        picks.append(rest[at])
        worth.append(scores[at])
        one = segments[rest[at]]
        rest, scores = np.delete(rest, at), np.delete(scores, at)
        scores = scores * np.exp(-(overlap(one, segments[rest], 1e-6) ** 2) / np.float32(sigma))
        stays = scores >= np.float32(min_score)
        rest, scores = rest[stays], scores[stays]
    return np.asarray(picks, np.int64), np.asarray(worth, np.float32)


def hard_nms(segments: Array, scores: Array, iou: float, number: int) -> tuple[Index, Array]:
    """The picks, at most `number` of them, none of which overlaps a better one by `iou` or more, and their scores."""
    rest = np.argsort(-scores, kind="stable")
    picks: list[np.int64] = []
    while len(rest) and len(picks) < number:
        picks.append(rest[0])
        rest = rest[1:][overlap(segments[rest[0]], segments[rest[1:]], 1e-6) < iou]
    index = np.asarray(picks, np.int64)
    return index, scores[index]


def suppressed(found: Detections, settings: Decoding) -> Detections:
    """The picks among all of `found`, whatever their classes."""
    if settings.hard is None:
        index, scores = soft_nms(found.segments, found.scores, settings.sigma, settings.min_score, settings.kept)
    else:
        index, scores = hard_nms(found.segments, found.scores, settings.hard, settings.kept)
    return found.take(index)._replace(scores=scores)


def voted(segments: Array, voters: Detections, iou: float, votes: str = "score_iou") -> Array:
    """Each of segments [M, 2] becomes the weighted mean of all voters with at least this IoU -> [M, 2]."""
    if votes not in ("score_iou", "score"):
        raise ValueError(f"{votes!r} is no weight of votes")
    means = np.empty_like(segments)
    for m, one in enumerate(segments):
        near = overlap(one, voters.segments)
        weights = voters.scores * (near >= np.float32(iou))
        if votes == "score_iou":
            weights = weights * near
        means[m] = weights / weights.sum() @ voters.segments
    return means


def decode(found: Detections, settings: Decoding) -> Detections:
    """Suppression, and votes where it was over all classes together; the best first."""
    if not len(found.scores):
        return found
    if settings.per_class:
        classes = [np.flatnonzero(found.labels == label) for label in np.unique(found.labels)]
        return _best(_joined([suppressed(found.take(index), settings) for index in classes]), settings.kept)
    picked = suppressed(found, settings)
    if settings.voting > 0:
        picked = picked._replace(segments=voted(picked.segments, found, settings.voting, settings.votes))
    return _best(picked, settings.kept)


def seconds(segments: Array, fps: float, stride: float, clip: float, duration: float) -> Array:
    """Grid to seconds, [N, 2] -> [N, 2]: g is the middle of clip g, of `clip` frames, one every `stride` frames."""
    return np.clip((segments * np.float32(stride) + np.float32(0.5 * clip)) / np.float32(fps), 0, duration)


def with_classifier(found: Detections, classes: Array, detections: int = 200, top: int = 2) -> Detections:
    """The best detections as each of the best classes of the recording [K]; own classes are thrown away.

    The score is the root of the product; the detections of the best class come first.
    """
    best = _best(found, detections)
    labels = np.argsort(-classes, kind="stable")[:top]
    scores = np.sqrt(classes[labels].astype(np.float32)[:, None] * best.scores)
    return Detections(
        np.tile(best.segments, (len(labels), 1)), scores.ravel(), np.repeat(labels, len(best.scores)).astype(np.int64)
    )


def as_probabilities(classes: Array) -> Array:
    """What DyFADet does to a classifier's scores first: [[...]] unwrapped, softmax unless all are in [0, 1]."""
    classes = np.asarray(classes, np.float32).reshape(-1)
    if classes.max() <= 1 and classes.min() >= 0:
        return classes
    e = np.exp(classes - classes.max())
    return e / e.sum()
