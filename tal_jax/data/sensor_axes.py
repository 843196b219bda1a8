"""Streams of samples of three-axis sensors (x, y, z, x, y, z, ..), which turn with a device: detected from gravity."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tal_jax.data import atomic
from tal_jax.data.dataset import Split
from tal_jax.errors import InputError
from tal_jax.words import hint

GRAVITY = 9.81  # m/s2: what an accelerometer measures, whatever its orientation, but for movement
NEAR = 0.1  # the median length of (x, y, z) may be that far from it, as a fraction
ALIKE = 0.15  # and that far from those of the same sensor's other samples
ALWAYS = 0.99  # of the snippets
MOST_SENSORS = 3  # accelerometer, gyroscope, magnetometer
LEAST_SAMPLES = 2  # one sample a snippet looks like a mean beside a deviation
RECORDINGS = 50  # to look at


def write(path: Path, channels: Sequence[tuple[int, int]]) -> None:
    """Stores what `triaxial_channels` found (.json)."""
    atomic.write(path, json.dumps(channels).encode())


def read(path: Path) -> tuple[tuple[int, int], ...]:
    """Reads what `write` stored.

    Raises:
      InputError: the file is missing or damaged.
    """
    try:
        return tuple((int(first), int(last)) for first, last in json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as e:
        raise InputError(f"{path}: not a list of channel ranges ({e!r:.60}): remove it") from e


def triaxial_channels(named: Sequence[str], split: Split, streams: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The channels that hold samples of three-axis sensors of one device.

    Args:
      named: the streams of such samples; where none are named, they are detected by `looks_triaxial`.
      split: the recordings to look at.
      streams: the streams in use, in the order in which they lie side by side.

    Returns:
      Ranges [first, last) of channels, one for each such stream.

    Raises:
      InputError: a named stream is not in use, or its channels are no triples.
    """
    for stream in named:
        if stream not in streams:
            known = hint(stream, streams, "there are")
            raise InputError(f"config: data.triaxial: no stream {stream!r} in use: {known}")
        width = split.metadata.streams[stream]
        if width % 3:
            raise InputError(
                f"config: data.triaxial: stream {stream!r} has {width} channels, no triples of x, y and z: leave it out"
            )
    ranges, first = [], 0
    for stream in streams:
        last = first + split.metadata.streams[stream]
        if stream in named if named else looks_triaxial(_sample(split, stream)):
            ranges.append((first, last))
        first = last
    return tuple(ranges)


def looks_triaxial(x: np.ndarray) -> bool:
    """Whether a snippet is two or more samples of up to three three-axis sensors, one an accelerometer in m/s2.

    Such a snippet is S times (x, y, z) of each sensor in turn. The median length of these vectors is then the same for
    all S samples of a sensor, and near 9.81 for an accelerometer's. A mean and a deviation beside each other are not
    alike, a minimum is always below what stands beside it, and unit vectors, noise or an encoder's features are not
    near 9.81.

    Args:
      x: [T, C] features of snippets, not normalised.
    """
    if len(x) == 0 or x.shape[1] % 3 or x.shape[1] == 0:
        return False
    lengths = np.median(np.linalg.norm(x.reshape(len(x), -1, 3).astype(np.float64), axis=2), axis=0)
    for sensors in range(1, MOST_SENSORS + 1):
        if len(lengths) % sensors == 0 and len(lengths) >= LEAST_SAMPLES * sensors:
            by_sensor = lengths.reshape(-1, sensors)
            middle = np.median(by_sensor, axis=0)
            alike = np.abs(by_sensor - middle) <= ALIKE * middle
            heavy = np.abs(middle - GRAVITY) <= NEAR * GRAVITY
            if alike.all() and heavy.any() and not _has_extreme(x.reshape(len(x), -1, 3 * sensors)):
                return True
    return False


def _has_extreme(x: np.ndarray) -> bool:
    """Whether one of the samples of snippets [T, S, C] is above, or below, all others throughout: no sample, then."""
    highest, lowest = (x >= x.max(1, keepdims=True)).mean(0), (x <= x.min(1, keepdims=True)).mean(0)
    return bool(((highest > ALWAYS).all(1) | (lowest > ALWAYS).all(1)).any())


def _sample(split: Split, stream: str) -> np.ndarray:
    index = np.unique(np.linspace(0, len(split) - 1, min(RECORDINGS, len(split))).astype(int))
    return np.concatenate([record.features[stream] for record in split.records(index)]).astype(np.float32)
