"""Which recordings are learned from, which are held out to be measured, and whose they are."""

import fnmatch
import re
from collections.abc import Sequence

import numpy as np

from tal_jax.data.dataset import Split
from tal_jax.errors import InputError


def hold_out(count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions to train on, and those held out: every n-th, a function of the ids' order alone. share 0: none."""
    held = np.arange(count)[:: max(2, round(1 / share))] if share > 0 else np.arange(0)
    return np.delete(np.arange(count), held), held


def hold_out_ids(split: Split, patterns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Positions to train on, and those held out: ids that match one of the patterns (`*`, `?`, `[..]`, as of a shell).

    Raises:
      InputError: a pattern that matches nothing, or nothing left to train on.
    """
    ids = [str(id) for id in split.ids]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(id, pattern) for id in ids):
            raise InputError(
                f"config: data.holdout_ids: {pattern!r} matches none of the {len(ids)} recordings of split "
                f"{split.split} in {split.directory} (first: {ids[0]!r})"
            )
    everything = np.arange(len(ids))
    kept = without(split, everything, patterns)
    if len(kept) == 0:
        raise InputError(f"config: data.holdout_ids: all {len(ids)} recordings are held out, none is left to train on")
    return kept, np.setdiff1d(everything, kept)


def without(split: Split, index: np.ndarray, patterns: Sequence[str]) -> np.ndarray:
    """The positions whose ids match none of the patterns."""
    ids = [str(id) for id in split.ids[index]]
    return index[np.array([not any(fnmatch.fnmatchcase(id, p) for p in patterns) for id in ids], bool)]


def grouped(split: Split, index: np.ndarray, expression: str) -> np.ndarray:
    """What a regular expression finds in the ids, such as the person in "s01_walk" by "^s[0-9]+".

    Args:
      split: of the recordings.
      index: [R] positions in it.
      expression: "": every recording is by itself.

    Returns:
      [R], alike where recordings belong together.

    Raises:
      InputError: it finds nothing in one of them.
    """
    if not expression:
        return index
    found = [(id, re.search(expression, id)) for id in map(str, split.ids[index])]
    for id, match in found:
        if match is None or not match.group():
            raise InputError(f"groups {expression!r}: not found in id {id!r} of {split.directory}")
    return np.array([match.group() for _, match in found if match])
