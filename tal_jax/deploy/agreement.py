"""The agreement of two runtimes: random inputs, and how far their detections lie apart."""

from collections.abc import Mapping

import numpy as np

Fields = Mapping[str, np.ndarray]


def random_inputs(shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random inputs of a prediction, as `types.Batch` has them: features of noise, the last row half padding.

    Args:
      shapes: the shape of every input by its name.
      rng: draws them.

    Returns:
      Arrays by the names of `batch_layout.INPUTS`.
    """
    b, t = shapes["mask"]
    mask = np.ones((b, t), bool)
    mask[-1, (t + 1) // 2 :] = False
    duration = mask.sum(axis=1).astype(np.float32)
    return {
        "features": (rng.normal(size=shapes["features"]) * mask[..., None]).astype(np.float32),
        "mask": mask,
        "stride": np.ones(b, np.float32),
        "duration": duration,
        "proposals": np.sort(rng.uniform(0, duration[:, None, None], shapes["proposals"]), axis=-1).astype(np.float32),
        "proposal_scores": rng.uniform(0.1, 1, shapes["proposal_scores"]).astype(np.float32),
        "proposal_mask": np.ones(shapes["proposal_mask"], bool),
        "class_scores": rng.uniform(size=shapes["class_scores"]).astype(np.float32),
    }


def unmatched_fraction(one: Fields, other: Fields, *, score: float, time: float) -> float:
    """The fraction of the detections of both sides that match none of the other side.

    A few are no fault: where scores or overlaps are equal but for rounding, NMS may pick another one first.

    Args:
      one, other: the two sides, each with segments [B, P, 2], labels, scores and mask [B, P].
      score: how far the scores of matching detections of the same label may lie apart.
      time: how far their starts, and their ends, may lie apart, in the unit of the segments.

    Returns:
      A fraction in [0, 1]; 0 where neither side has a detection.
    """
    alone = total = 0
    for row in range(len(one["mask"])):
        a, b = ({k: x[row][side["mask"][row]] for k, x in side.items()} for side in (one, other))
        like = a["labels"][:, None] == b["labels"][None]
        like &= np.abs(a["scores"][:, None] - b["scores"][None]) <= score
        like &= (np.abs(a["segments"][:, None] - b["segments"][None]) <= time).all(axis=-1)
        alone += int((~like.any(axis=1)).sum() + (~like.any(axis=0)).sum())
        total += sum(like.shape)
    return alone / max(total, 1)
