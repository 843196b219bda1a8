"""Which classes does a recording hold? Scores of multi-label classification."""

import numpy as np


def label_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of average precision: precision at the rank of each recording that holds the class, averaged.

    Recordings of equal score share the rank of the last of them. Classes that no recording holds do not count.

    Args:
      scores: [N, K] score of each class in each of N recordings.
      labels: [N, K], above 0 for every class present.

    Returns:
      a fraction in [0, 1]; 0 without any label.
    """
    found = []
    for column, present in zip(np.transpose(scores), np.transpose(labels) > 0, strict=True):
        if present.any():
            at_least = column[None, :] >= column[present][:, None]  # [positives, N]
            found.append(np.mean((at_least & present).sum(axis=1) / at_least.sum(axis=1)))
    return float(np.mean(found)) if found else 0.0
