"""Times of proposals and detections: seconds, or fractions of their recordings, as BSN and BMN write them.

Images, samples and milliseconds are told by where they lie: beyond the ends of their recordings.
"""

from collections.abc import Sequence

import numpy as np

from tal_jax.errors import InputError

SECONDS, FRACTIONS = "seconds", "fractions"
UNITS = (SECONDS, FRACTIONS)
LARGEST = 1.01  # of a fraction: methods round the ends of their grids
FEW = 5  # segments, of which nobody can tell where most lie
LONG = 5.0  # seconds: that everything in recordings of this length ends within the first one is no chance


def are_fractions(ends: np.ndarray, lengths: Sequence[float] | np.ndarray) -> bool:
    """Whether times are probably fractions: all end within the first second, some inside of it, recordings much later.

    Args:
      ends: [n] ends of the segments.
      lengths: [N] where their recordings end, in seconds; 0 where that is unknown.
    """
    known = [length for length in lengths if length > 0]
    within = ((ends > 0) & (ends < 1)).any() and np.max(ends) <= LARGEST  # whole seconds are none
    return bool(within and known and np.median(known) > LONG)


def refusal(where: str, lengths: Sequence[float] | np.ndarray, remedy: str) -> InputError:
    """What to raise where `are_fractions`; `remedy` says how the unit is given, or how to write seconds."""
    median = float(np.median([length for length in lengths if length > 0]))
    return InputError(
        f"{where}: every segment ends by {LARGEST:g}, in recordings of {median:.4g} s: these are fractions of the "
        f"recordings, not seconds: {remedy}"
    )


def check_inside(where: str, segments: np.ndarray, lengths: np.ndarray, remedy: str) -> None:
    """Refuses times of which most lie beyond the ends of their recordings.

    Args:
      where: the file, for the message.
      segments: [n, 2] start and end.
      lengths: [n] where the recording of each ends, in seconds; 0 where that is unknown.
      remedy: what to do about it.

    Raises:
      InputError: more than half of those whose recording's end is known, unless they are few, have their middle beyond.
    """
    known = lengths > 0
    beyond = known & (segments.mean(axis=1) > lengths)
    if known.sum() >= FEW and beyond.sum() * 2 > known.sum():
        first = int(np.argmax(beyond))
        start, end = segments[first]
        raise InputError(
            f"{where}: {beyond.sum():,} of {known.sum():,} segments lie beyond the end of their recordings, one from "
            f"{start:g} to {end:g} in {lengths[first]:.4g} s: are times in images, samples or milliseconds, or "
            f"durations too short? {remedy}"
        )


def scaled(where: str, segments: np.ndarray, duration: float | None) -> np.ndarray:
    """Segments [P, 2] in seconds from fractions of a recording.

    Raises:
      InputError: naming `where`: an end is no fraction, or the duration is unknown.
    """
    if len(segments) and segments.max() > LARGEST:
        raise InputError(f"{where}: an end of {segments.max():g} is no fraction: are these seconds?")
    if len(segments) and not duration:
        raise InputError(f"{where}: its duration is unknown, which fractions need: add it to the annotations")
    return np.asarray(segments) * (duration or 0.0)
