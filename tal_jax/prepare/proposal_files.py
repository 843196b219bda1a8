"""Files of proposals, one for each recording: found and looked at before anything is packed, then read in seconds."""

from collections.abc import Iterator, Mapping

import numpy as np

from tal_jax.checks import units
from tal_jax.data import proposals
from tal_jax.data.annotations import Note
from tal_jax.errors import InputError
from tal_jax.prepare import feature_files

SAMPLED = 100  # files that are read to tell their unit


def find(folder: str | None, given_units: str | None, ends: Mapping[str, float]) -> tuple[dict[str, str], list[Note]]:
    """Finds the files, and refuses those whose times cannot be seconds.

    Args:
      folder: the folder; None: there are no proposals.
      given_units: "seconds" or "fractions", where the user says it.
      ends: where each recording ends, in seconds, 0 where that is unknown.

    Returns:
      The files by id, and notes of the kind "missing proposals".

    Raises:
      InputError: no file for any recording, one that cannot be read, or times that are fractions, or no seconds,
        and nobody spoke of them.
    """
    if folder is None:
        return {}, []
    flag = f"--proposals={folder}"
    found = feature_files.find_files(folder, ends, (".csv",), "--proposals")
    if not found:
        raise InputError(f"{flag}: no file ID.csv for any recording: check the folder")
    if given_units is None:
        sample = sorted(found)[:: max(1, len(found) // SAMPLED)]
        segments = [proposals.read_csv(found[id])[0] for id in sample]
        lengths = [ends[id] for id in sample]
        if units.are_fractions(np.concatenate(segments)[:, 1], lengths):
            remedy = "say so with --proposal_units=fractions, or --proposal_units=seconds if they are seconds"
            raise units.refusal(flag, lengths, remedy)
        each = np.repeat(lengths, [len(own) for own in segments])
        units.check_inside(
            flag, np.concatenate(segments), each, "Write seconds, or insist with --proposal_units=seconds"
        )
    missing = sorted(ends.keys() - found.keys())
    return found, [Note("missing proposals", id, f"no {id}.csv in {folder}") for id in missing]


def read(
    files: Mapping[str, str], durations: Mapping[str, float] | None
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Reads the files: id, segments [P, 2] in seconds, scores [P].

    Args:
      files: the files by id.
      durations: seconds by id, where the files hold fractions of them.

    Raises:
      InputError: see `proposals.read_csv` and `units.scaled`.
    """
    for id, path in sorted(files.items()):
        segments, scores = proposals.read_csv(path)
        if durations is not None:
            segments = units.scaled(f"{path}: record {id}", segments, durations[id])
        yield id, segments, scores
