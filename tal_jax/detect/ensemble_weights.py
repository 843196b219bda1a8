"""Weights of an ensemble's runs: by their own validation performance (the report), alike, or as given."""

from collections.abc import Sequence

import numpy as np

from tal_jax.errors import InputError


def normalized(performances: Sequence[float]) -> list[float]:
    """Weights in proportion to performances ("according to the relative performance of each feature", section 4.1).

    Args:
      performances: [N] numbers from 0 on.

    Returns:
      [N] weights that sum to 1; all alike where every performance is 0.
    """
    total = float(sum(performances))
    return [p / total if total else 1 / len(performances) for p in performances]


def given(text: str, count: int) -> list[float]:
    """Weights from a text such as "0.5,0.3,0.2", made to sum to 1.

    Args:
      text: numbers from 0 on, with commas between them.
      count: how many runs there are.

    Raises:
      InputError: the text is not so many numbers from 0 on, or all of them are 0.
    """
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if len(weights) != count or not np.isfinite(weights).all() or min(weights) < 0 or not any(weights):
        raise InputError(
            f"--weights={text}: give performance, uniform, or {count} numbers from 0 on, as in 0.5,0.3,0.2"
        )
    return normalized(weights)
