"""Streams of raw samples of three-axis sensors (x, y, z, x, y, z, ..), which turn with the device: told by gravity."""

from collections.abc import Sequence

import numpy as np

from tal_jax.data.dataset import Split
from tal_jax.errors import InputError

AUTO = "auto"
GRAVITY = 9.81  # m/s2: what an accelerometer measures, whatever its orientation, but for movement
NEAR = 0.1  # the median length of (x, y, z) may be that far from it, as a fraction
ALIKE = 0.15  # and that far from those of the same sensor's other samples
MOST_SENSORS = 3  # accelerometer, gyroscope, magnetometer
RECORDINGS = 50  # to look at


def triaxial_channels(named: Sequence[str], split: Split, streams: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The channels that hold samples of three-axis sensors.

    Args:
      named: ("auto",) tells by looking, see `looks_triaxial`; or the names of streams.
      split: to look at.
      streams: those in use, side by side.

    Returns:
      Ranges [first, last) of channels, one for each such stream.

    Raises:
      InputError: a named stream is not in use, or its channels are no triples.
    """
    for stream in () if tuple(named) == (AUTO,) else named:
        if stream not in streams:
            raise InputError(f"config: data.triaxial: no stream {stream!r}: expected {AUTO!r}, or some of {[*streams]}")
        width = split.metadata.streams[stream]
        if width % 3:
            raise InputError(
                f"config: data.triaxial: stream {stream!r} has {width} channels, no triples of x, y and z: leave it out"
            )
    ranges, first = [], 0
    for stream in streams:
        last = first + split.metadata.streams[stream]
        if stream in named or (tuple(named) == (AUTO,) and looks_triaxial(_sample(split, stream))):
            ranges.append((first, last))
        first = last
    return tuple(ranges)


def looks_triaxial(x: np.ndarray) -> bool:
    """Whether snippets are samples of up to three three-axis sensors side by side, one an accelerometer in m/s2.

    The samples of a snippet are S times (x, y, z) of each sensor in turn. The median length of these vectors is then
    the same for all S samples of a sensor, and near 9.81 for an accelerometer's. Means, deviations and spectra beside
    each other are not alike, and unit vectors, noise or an encoder's features are not near 9.81.

    Args:
      x: [T, C] snippets, not normalised.
    """
    if len(x) == 0 or x.shape[1] % 3 or x.shape[1] == 0:
        return False
    lengths = np.median(np.linalg.norm(x.reshape(len(x), -1, 3).astype(np.float64), axis=2), axis=0)
    for sensors in range(1, MOST_SENSORS + 1):
        if len(lengths) % sensors == 0:
            by_sensor = lengths.reshape(-1, sensors)
            middle = np.median(by_sensor, axis=0)
            alike = np.abs(by_sensor - middle) <= ALIKE * middle
            if alike.all() and (np.abs(middle - GRAVITY) <= NEAR * GRAVITY).any():
                return True
    return False


def _sample(split: Split, stream: str) -> np.ndarray:
    index = np.unique(np.linspace(0, len(split) - 1, min(RECORDINGS, len(split))).astype(int))
    return np.concatenate([record.features[stream] for record in split.records(index)]).astype(np.float32)
