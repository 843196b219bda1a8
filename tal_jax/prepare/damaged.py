"""Recordings that are known to be damaged, per data set, and lists of them in files."""

import os
from pathlib import Path

from tal_jax.errors import InputError

# The videos that the authors of TCANet skip: their features do not belong to their annotations.
HACS = ("S8GtH2Zayds", "saZkh1Xacp0", "uRCf7b3qk0I", "ukyFvye2yK0", "VsZiOEzQqyI", "KhkQyn-WblM")

LISTS = {"hacs": HACS}


def read(source: str | os.PathLike) -> frozenset[str]:
    """Returns the ids of a named list ("hacs"), or of a file with one id a line; empty lines are skipped.

    Raises:
      InputError: neither a known name nor a readable text file.
    """
    if source in LISTS:
        return frozenset(LISTS[str(source)])
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        names = ", ".join(LISTS)
        raise InputError(f"--damaged={source}: not readable ({e}): give a file with one id a line, or {names}") from e
    return frozenset(line.strip() for line in lines if line.strip())
