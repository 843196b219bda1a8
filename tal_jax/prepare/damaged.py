"""Recordings that are known to be damaged, per data set, and lists of them in files."""

import os
from collections.abc import Collection

from tal_jax.data import id_lists
from tal_jax.data.annotations import Note

# The videos that the authors of TCANet skip: their features do not belong to their annotations.
HACS = ("S8GtH2Zayds", "saZkh1Xacp0", "uRCf7b3qk0I", "ukyFvye2yK0", "VsZiOEzQqyI", "KhkQyn-WblM")

LISTS = {"hacs": HACS}
FLAG = "--blocked"


def read(source: str | os.PathLike) -> frozenset[str]:
    """The entries of a known list ("hacs"), or of a file with one id a line, see `id_lists.read`.

    Raises:
      InputError: neither a known name nor a readable list.
    """
    if source in LISTS:
        return frozenset(LISTS[str(source)])
    return frozenset(id_lists.read(source, f"{FLAG}, which takes a file or one of {', '.join(LISTS)}"))


def find(source: str | None, sources: Collection[Collection[str]]) -> tuple[frozenset[str], list[Note]]:
    """The recordings that a list means.

    Args:
      source: a known list ("hacs"), or a file with one id a line, see `id_lists`; None leaves out none.
      sources: the ids of all recordings, and those of all clips.

    Returns:
      Their ids, and notes of the kind "damaged unknown" on entries that mean none.

    Raises:
      InputError: a file that cannot be read, or none of whose ids is a recording.
    """
    if source is None:
        return frozenset(), []
    where = f"{FLAG}={source}"
    if source in LISTS:  # of a whole data set: one's own part of it may have none of them
        found = [id_lists.match(read(source), known, where).ids for known in sources]
        return frozenset().union(*found), []
    ids, unmatched = id_lists.match_any(sorted(read(source)), list(sources), where)
    everything = [id for known in sources for id in known]
    return ids, [Note("damaged unknown", entry, text) for entry, text in id_lists.told(unmatched, everything)]
