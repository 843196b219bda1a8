"""Class scores of whole videos by the classifier that an encoder was trained with, out of its features."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tal_jax.data import class_scores
from tal_jax.errors import InputError

NAME = "class_scores.parquet"
ROWS = 4096  # snippets at a time: features of a day stay on the disk


def mean_probabilities(features: np.ndarray, head: Mapping[str, np.ndarray]) -> np.ndarray:
    """The mean over snippets of the softmax of their logits.

    Args:
      features: [T, D].
      head: kernel [D, K], and bias [K] where there is one.

    Returns:
      [K] float32.
    """
    total = np.zeros(head["kernel"].shape[1])
    for first in range(0, len(features), ROWS):
        logits = features[first : first + ROWS].astype(np.float32) @ head["kernel"] + head.get("bias", np.float32(0))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        total += (powers / powers.sum(axis=1, keepdims=True)).sum(axis=0)
    return (total / len(features)).astype(np.float32)


def write(folder: Path, ids: Sequence[str], head: Mapping[str, np.ndarray], labels: Sequence[str]) -> None:
    """Writes the scores of videos whose features are in a folder, for --config.stages.tcanet.class_scores=FILE.

    Raises:
      InputError: features have disappeared.
      OSError: the disk is full.
    """

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        for id in ids:
            path = folder / f"{id}.npy"
            try:
                yield id, mean_probabilities(np.load(path, mmap_mode="r", allow_pickle=False), head)
            except (OSError, ValueError) as e:
                raise InputError(f"{path}: cannot be read ({e}): start launch.encode again, which makes it anew") from e

    class_scores.write(folder / NAME, labels, rows())
