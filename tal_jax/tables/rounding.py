"""What a storage type does to a stream: rounding measured against each channel's own spread, recording by recording."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

BLOCK = 1 << 17  # numbers looked at together: as many as a cache holds
# Rounding harms where its root mean square is more than this part of a channel's standard deviation, within one
# recording: the channel has fewer than six levels then. A barometer near 1000 hPa has one on the stairs.
OWN = 0.05
# And more than this part of its standard deviation over all recordings: the noise of a sensor that lies still may go.
WHOLE = 0.001
# A channel that moves less than this part of its mean does not move: that is the rounding of those who wrote it.
STILL = {"float16": 1e-6, "bfloat16": 1e-6, "float32": 1e-10}
TINY = {"float16": 0.0, "bfloat16": 1.2e-38, "float32": 1.2e-38}  # what devices take for zero
FIELDS = ("mean", "squares", "low", "high")
ERRORS = ("largest", "moving", "still", "total", "share")


@dataclass(frozen=True)
class Rounding:
    """What one storage type does to the C channels of a stream."""

    largest: np.ndarray  # [C] the largest |x| as stored
    moving: np.ndarray  # [C] the largest error of a recording in which it is over OWN of the channel's spread there
    still: np.ndarray  # [C] the largest error of a recording in which the channel does not move
    total: np.ndarray  # [C] sum of the squares of all errors
    share: np.ndarray  # [C] the error over the channel's spread, in the recording of `moving`
    ids: tuple[str, ...]  # [C] that recording, or of `still`; "" for none

    def merged(self, other: "Rounding") -> "Rounding":
        """Of the recordings of both."""
        later = np.maximum(other.moving, other.still) > np.maximum(self.moving, self.still)
        return Rounding(
            np.maximum(self.largest, other.largest),
            np.maximum(self.moving, other.moving),
            np.maximum(self.still, other.still),
            self.total + other.total,
            np.where(later, other.share, self.share),
            tuple(b if take else a for a, b, take in zip(self.ids, other.ids, later, strict=True)),
        )


@dataclass(frozen=True)
class Channels:
    """The C channels of a stream in some recordings, and what storage types do to them."""

    count: int  # snippets
    mean: np.ndarray  # [C]
    squares: np.ndarray  # [C] sum of squared deviations from the mean
    low: np.ndarray  # [C]
    high: np.ndarray  # [C]
    rounding: Mapping[str, Rounding]  # by type; a type that changes nothing is left out

    @property
    def spread(self) -> np.ndarray:
        """[C] standard deviations."""
        return np.sqrt(self.squares / self.count)

    def merged(self, other: "Channels") -> "Channels":
        """Of the recordings of both (Chan et al., 1979)."""
        count = self.count + other.count
        gap = other.mean - self.mean
        both = {**self.rounding, **other.rounding}
        for dtype in both:
            both[dtype] = self._of(dtype).merged(other._of(dtype))
        return Channels(
            count,
            self.mean + gap * (other.count / count),
            self.squares + other.squares + gap**2 * (self.count * other.count / count),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            both,
        )

    def _of(self, dtype: str) -> Rounding:
        zeros = np.zeros(len(self.mean))
        exact = Rounding(np.maximum(abs(self.low), abs(self.high)), zeros, zeros, zeros, zeros, ("",) * len(zeros))
        return self.rounding.get(dtype, exact)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        rounding = {
            dtype: {name: getattr(r, name).tolist() for name in ERRORS} | {"ids": list(r.ids)}
            for dtype, r in self.rounding.items()
        }
        return {"count": self.count, **{name: getattr(self, name).tolist() for name in FIELDS}, "rounding": rounding}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Channels":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        rounding = {
            dtype: Rounding(**{name: np.array(r[name], np.float64) for name in ERRORS}, ids=tuple(r["ids"]))
            for dtype, r in values["rounding"].items()
        }
        fields = {name: np.array(values[name], np.float64) for name in FIELDS}
        return cls(count=int(values["count"]), **fields, rounding=rounding)


def measure(x: np.ndarray, dtypes: Sequence[str], id: str) -> Channels:
    """Looks at one recording.

    Args:
      x: [T, C], finite.
      dtypes: the storage types that are asked about.
      id: the recording's id.
    """
    wanted = [dtype for dtype in dtypes if not np.can_cast(x.dtype, _kind(dtype))]
    first, count = x[0].astype(np.float64), len(x)
    shifted, square = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    low, high = first.copy(), first.copy()
    total = {dtype: np.zeros(x.shape[1]) for dtype in wanted}
    largest = {dtype: np.zeros(x.shape[1]) for dtype in wanted}
    for part in _blocks(x):
        away = part - first
        shifted, square = shifted + away.sum(axis=0), square + (away**2).sum(axis=0)
        low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
        for dtype in wanted:
            with np.errstate(over="ignore"):
                stored = part.astype(_kind(dtype)).astype(np.float64)
                total[dtype] += ((stored - part) ** 2).sum(axis=0)
            largest[dtype] = np.maximum(largest[dtype], abs(stored).max(axis=0))
    squares = np.maximum(square - shifted**2 / count, 0)
    mean, spread = first + shifted / count, np.sqrt(squares / count)
    rounding = {}
    for dtype in wanted:
        error = np.sqrt(total[dtype] / count)
        moves = spread > STILL[dtype] * abs(mean)
        share = np.divide(error, spread, out=np.zeros_like(error), where=moves)
        harmed = share > OWN
        moving, still = np.where(harmed, error, 0), np.where(moves, 0, error)
        ids = tuple(id if said else "" for said in (harmed | (still > 0)).tolist())
        rounding[dtype] = Rounding(largest[dtype], moving, still, total[dtype], np.where(harmed, share, 0), ids)
    return Channels(count, mean, squares, low, high, rounding)


def harm(channels: Channels, dtype: str) -> str:
    """What a storage type would spoil, in words that name the channel, from 0, and a recording; "" where nothing."""
    if dtype not in channels.rounding:
        return ""
    found, spread = channels.rounding[dtype], channels.spread
    real = np.maximum(abs(channels.low), abs(channels.high))
    error = np.maximum(found.moving, found.still)
    over = np.isinf(error)
    if over.any():
        c = int(np.argmax(over))
        return f"{dtype} does not hold {real[c]:.4g} of channel {c} (record {found.ids[c]})"
    gone = (real > 0) & (found.largest <= TINY[dtype])
    if gone.any():
        c = int(np.argmax(gone))
        return f"{dtype} makes zeros of channel {c}, which reaches {real[c]:.3g}"
    alive = spread > STILL[dtype] * abs(channels.mean)
    bad = alive & ((found.moving > WHOLE * spread) | (found.still > OWN * spread))
    if not bad.any():
        return ""
    share = np.maximum(found.share, np.divide(found.still, spread, out=np.zeros_like(spread), where=alive))
    c = int(np.argmax(np.where(bad, share, 0)))
    return f"{dtype} rounds channel {c} by {share[c]:.0%} of its spread (record {found.ids[c]})"


def worst(channels: Channels, dtype: str) -> float:
    """The root mean square of the rounding of all recordings, over the spread, of the channel that suffers most."""
    if dtype not in channels.rounding:
        return 0.0
    error = np.sqrt(channels.rounding[dtype].total / channels.count)
    moves = channels.spread > STILL[dtype] * abs(channels.mean)
    return float(np.divide(error, channels.spread, out=np.zeros_like(error), where=moves).max(initial=0))


def _kind(dtype: str) -> np.dtype:
    return np.dtype(bfloat16 if dtype == "bfloat16" else dtype)


def _blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, BLOCK // max(1, x.shape[1]))
    return (x[i : i + rows].astype(np.float64) for i in range(0, len(x), rows))
