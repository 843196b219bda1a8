"""Which recordings are learned from, which are held out to be measured, and whose they are."""

import fnmatch
import math
import re
from collections.abc import Sequence

import numpy as np

from tal_jax.data import id_lists
from tal_jax.data.dataset import Split
from tal_jax.errors import InputError
from tal_jax.words import nearest


def hold_out(count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Splits positions by a share: a function of their order alone, evenly spread from position 0 on.

    A share of 1/n holds out every n-th position: 0, n, 2n, .. (⌈count / n⌉ of them). Any other share holds out
    k = round(share * count) positions, at least one, the i-th of them at ⌊i * count / k⌋.

    Args:
      count: number of recordings or clips.
      share: fraction of them in [0, 1) that is held out; 0 holds out none.

    Returns:
      (positions to train on, positions held out), each ascending. Whatever the share, one is left to train on.

    Raises:
      InputError: the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise InputError(f"config: data.holdout: {share} is no share of the recordings: give a number in [0, 1)")
    everything = np.arange(count)
    if share == 0 or count < 2:
        return everything, everything[:0]
    if is_every_nth(share):
        held = everything[:: round(1 / share)]
    else:
        held_count = min(max(round(share * count), 1), count - 1)
        held = np.arange(held_count) * count // held_count
    return np.delete(everything, held), held


def is_every_nth(share: float) -> bool:
    """Whether a share is 1/n, or none at all."""
    return share <= 0 or math.isclose(round(1 / share) * share, 1)


def hold_out_ids(split: Split, patterns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Positions to train on, and those held out: ids that match one of the patterns (`*`, `?`, `[..]`, as of a shell).

    Raises:
      InputError: a pattern that matches nothing, or nothing left to train on.
    """
    ids = [str(id) for id in split.ids]
    for pattern in patterns:
        if not _held(ids, [pattern]).any():
            raise InputError(
                f"config: data.holdout_ids: {pattern!r} matches none of the {len(ids)} recordings of split "
                f"{split.split} in {split.directory} (first: {ids[0]!r}): {nearest(pattern, ids) or 'correct it'}"
            )
    everything = np.arange(len(ids))
    kept = without(split, everything, patterns)
    if len(kept) == 0:
        raise InputError(f"config: data.holdout_ids: all {len(ids)} recordings are held out, none is left to train on")
    return kept, np.setdiff1d(everything, kept)


def without(split: Split, index: np.ndarray, patterns: Sequence[str]) -> np.ndarray:
    """The positions whose ids match none of the patterns."""
    return index[~_held([str(id) for id in split.ids[index]], patterns)]


def _held(ids: Sequence[str], patterns: Sequence[str]) -> np.ndarray:
    """[N] bool: ids that match a pattern, or that one means as an entry of a list of ids, see `id_lists.match`."""
    named = id_lists.match([p.strip() for p in patterns], ids, "config: data.holdout_ids").ids
    return np.array([id in named or any(fnmatch.fnmatchcase(id, p.strip()) for p in patterns) for id in ids], bool)


def grouped(split: Split, index: np.ndarray, expression: str) -> np.ndarray:
    """What a regular expression finds in the ids, such as the person in "s01_walk" by "^s[0-9]+".

    Args:
      split: the split that holds the recordings.
      index: [R] positions of recordings in it.
      expression: the regular expression; with "", every recording is by itself.

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
