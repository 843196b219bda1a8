"""Contradictions in the data of a set: each one stops launch.prepare, unless the user insists on it by name."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from tal_jax.data.annotations import Note
from tal_jax.errors import InputError
from tal_jax.words import hint

REASONS = {
    "untimed": "annotations without usable times are labels alone",
    "no_segments": "no segment to learn from: for weakly-supervised training alone",
    "segments": "most segments do not lie in their recordings",
    "encoder": "features are not what their encoder.json says, or of different encoders",
    "durations": "recordings last longer or shorter than their snippets",
}


ENCODER = "encoder"


class Doubt(NamedTuple):
    """Something that contradicts the rest."""

    reason: str  # one of REASONS
    text: str  # what it is, with the file, the records and the remedy


def check_accepted(accepted: Collection[str]) -> None:
    """Raises InputError where one of the reasons is none."""
    for name in accepted:
        if name not in REASONS:
            raise InputError(f"--accept={name}: no such reason: {hint(name, REASONS, 'they are')}")


def settle(doubts: Sequence[Doubt], accepted: Collection[str]) -> list[Note]:
    """Returns a note of the kind "accepted" for every doubt that the user insists on.

    Raises:
      InputError: there is another one; the text of the first, and all reasons that would have to be accepted.
    """
    left = [doubt for doubt in doubts if doubt.reason not in accepted]
    if left:
        flags = " ".join(f"--accept={reason}" for reason in dict.fromkeys(doubt.reason for doubt in left))
        raise InputError(f"{left[0].text} (or insist with {flags})")
    return [Note("accepted", doubt.reason, doubt.text) for doubt in doubts]
