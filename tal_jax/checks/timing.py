"""What the times of a set contradict: lengths against durations, segments against the ends of their recordings.

Lengths are compared in snippets: a video of 24 images a second among those of 25 is 4 % off, which is 5 snippets in a
short one and hundreds in a long one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tal_jax.checks.doubts import Doubt
from tal_jax.data.annotations import Note, Recording

TOLERANCE_SNIPPETS, TOLERANCE_SECONDS = 2.0, 0.1  # the larger of these is no contradiction
REACH = 16.0  # snippets that encoders may leave out at the end, as their clips reach over several
PADDING = 3.0  # snippets that they may add there
SHORT = 0.1  # of a length, at most, where it could as well be a factor
SAME_FACTOR = 0.01  # recordings share a factor where it leaves no more than this of their length
SHARED = 0.9  # of the recordings that do so
OFF_FACTOR = 0.02  # a factor nearer to 1 is rounding of durations
SCATTERED = 0.25  # lengths that are this far off, without a factor that they share, belong to something else
FEW = 5  # segments of a split that say nothing by themselves
MOST_FRACTIONS = 4  # as many segments that all end within the first second are taken for fractions


@dataclass(frozen=True)
class Timed:
    """A recording and how many snippets it has."""

    recording: Recording
    count: int | None  # None: its files do not tell before they are read
    stride: float | None  # seconds per snippet; None: duration / count

    @property
    def end(self) -> float:
        """Where it ends, in seconds: as annotated, else after its last snippet; 0 where neither is known."""
        duration = self.recording.duration
        return (self.count or 0) * (self.stride or 0.0) if duration is None else duration


class Lengths(NamedTuple):
    """Recordings whose length is known twice."""

    timed: Sequence[Timed]  # N
    counts: np.ndarray  # [N] snippets
    expected: np.ndarray  # [N] snippets that their durations say
    usual: float  # snippets that most of them have more than that (or less: an encoder's reach)

    @property
    def unlike(self) -> np.ndarray:
        """[N] whether the two lengths contradict each other."""
        return np.abs(self.counts - self.expected - self.usual) > tolerance(self.timed)


def lengths(timed: Sequence[Timed]) -> Lengths:
    """Compares the numbers of snippets with the durations."""
    known = [t for t in timed if t.recording.duration is not None and t.stride is not None and t.count]
    counts = np.array([t.count for t in known], np.float64)
    expected = np.array([t.end / (t.stride or 1.0) for t in known], np.float64)
    return Lengths(known, counts, expected, _usual(counts, expected, tolerance(known)))


def tolerance(timed: Sequence[Timed]) -> np.ndarray:
    """[N] snippets that two lengths may differ by."""
    return np.array([max(TOLERANCE_SNIPPETS, TOLERANCE_SECONDS / (t.stride or 1.0)) for t in timed], np.float64)


def _usual(counts: np.ndarray, expected: np.ndarray, allowed: np.ndarray) -> float:
    """The offset that most lengths share; 0 where that is as good, or a factor is, or there are too few to tell."""
    if len(counts) < 3:
        return 0.0
    off = np.sort(counts - expected)
    slack = float(allowed.min())
    near = np.concatenate([[0.0], off[(off >= -REACH) & (off <= PADDING)]])
    votes = np.searchsorted(off, near + slack, "right") - np.searchsorted(off, near - slack, "left")
    best = near[votes == votes.max()]
    chosen = float(best[np.argmin(np.abs(best))])
    scaled = np.abs(expected - expected.sum() / counts.sum() * counts) <= allowed
    proven = votes.max() > scaled.sum() or abs(chosen) <= SHORT * np.median(expected)
    return chosen if proven and votes.max() * 2 > len(off) else 0.0


def notes(timed: Sequence[Timed]) -> list[Note]:
    """A note of the kind "unlike duration" for every recording whose length contradicts its duration."""
    found = lengths(timed)
    result = []
    for t, unlike in zip(found.timed, found.unlike, strict=True):
        if unlike:
            fits = f"{t.end / max((t.count or 0) - found.usual, 1):.4g}"
            result.append(Note("unlike duration", t.recording.id, f"{_said(t)}: a stride of {fits} s would fit"))
    if found.usual:
        text = f"{abs(found.usual):.0f} snippets {'longer' if found.usual > 0 else 'shorter'} than annotated, as most"
        result.append(Note("usual length", "recordings", text))
    return result


def contradicted_lengths(
    path: str, flag: str, timed: Sequence[Timed], transposed: Mapping[str, Sequence[Timed]]
) -> list[Doubt]:
    """A doubt "durations" where most numbers of snippets contradict the durations, and by what they have in common.

    Args:
      path: the annotation file.
      flag: how the strides were said.
      timed: the recordings whose number of snippets is known.
      transposed: by stream, its recordings as they were if their files had the other layout.
    """
    found = lengths(timed)
    total = len(found.timed)
    if not total or found.unlike.sum() * 2 <= total:
        return []
    first = found.timed[int(np.argmax(found.unlike))]
    what = f"{found.unlike.sum():,} of {total:,} recordings contradict {flag}, {first.recording.id}: {_said(first)}"
    for name, others in transposed.items():
        turned = lengths(others)
        if len(turned.timed) and turned.unlike.sum() * 2 < len(turned.timed):
            text = f"is stream {name} transposed? Its other axis fits: --layout={name}=TC, or CT"
            return [Doubt("durations", f"{path}: {what}: {text}")]
    factor, fits = _factor(found)
    shared = fits.mean() >= SHARED
    if shared and abs(factor - 1) > OFF_FACTOR:
        better = f"{factor:.3g} times as much"
        if len({t.stride for t in found.timed}) == 1:
            seconds = (first.stride or 1.0) * factor
            better = f"{_round(seconds, 0.5 / float(np.median(found.counts)))} s"
        text = f"one factor, {factor:.4g}, fits all: is the stride {better}? Or are durations milliseconds, or images?"
        return [Doubt("durations", f"{path}: {what}: {text}")]
    if not shared and np.median(np.abs(found.expected / found.counts - 1)) > SCATTERED:
        text = "no one stride fits: are features transposed (--layout=NAME=TC), or of other recordings?"
        return [Doubt("durations", f"{path}: {what}: {text}")]
    return []


def _factor(found: Lengths) -> tuple[float, np.ndarray]:
    """What to multiply the numbers of snippets with, and [N] whether that makes them as long as expected."""
    allowed = np.maximum(tolerance(found.timed), SAME_FACTOR * found.expected)
    factor = float(np.median(found.expected / found.counts))
    fits = np.abs(found.expected - factor * found.counts) <= allowed
    if fits.any():  # more exact: long recordings count more
        factor = float(found.expected[fits].sum() / found.counts[fits].sum())
    return factor, np.abs(found.expected - factor * found.counts) <= allowed


def misplaced_segments(path: str, timed: Sequence[Timed]) -> list[Doubt]:
    """A doubt "segments" where most of them, in the set or in a split, cannot be seconds from start to end."""
    splits: dict[str, list[Timed]] = {}
    for t in timed:
        if t.recording.instances and t.end:
            splits.setdefault(t.recording.subset, []).append(t)
    everything = [t for group in splits.values() for t in group]
    for group in [everything, *splits.values()]:
        segments = np.array([(i.start, i.end, t.end) for t in group for i in t.recording.instances]).reshape(-1, 3)
        start, end, last = segments.T
        if not len(segments) or (group is not everything and len(segments) < FEW):
            continue
        what = f"of {len(segments):,} segments of {group[0].recording.subset if group is not everything else 'the set'}"
        empty, beyond = end <= start, (end > start) & ((start + end) / 2 > last)
        if _many(empty):
            text = f"{empty.sum():,} {what} end before they start or where they start: are they [start, length]?"
            return [Doubt("segments", f"{path}: {text} Write [start, end]")]
        if _many(beyond):
            text = f"{beyond.sum():,} {what} lie beyond the end of their recording"
            return [Doubt("segments", f"{path}: {text}, {_cause(group)} Write seconds")]
        if (
            group is everything and len(group) > 1 and len(segments) >= MOST_FRACTIONS
            and end.max() <= 1 and np.median(last) > FEW
        ):  # fmt: skip
            text = f"all {what[3:]} end within the first second: are times fractions of the recording?"
            return [Doubt("segments", f"{path}: {text} Write seconds")]
    return []


def _many(wrong: np.ndarray) -> bool:
    """Whether these are no slips: most, or, if they are more than a few, a third. Twice too late leaves half inside."""
    return bool(wrong.sum() * 2 > len(wrong) or (wrong.sum() >= FEW and wrong.sum() * 3 > len(wrong)))


def _cause(timed: Sequence[Timed]) -> str:
    """What segments beyond the ends may be, by how far beyond they are."""
    ends = np.array([max(i.end for i in t.recording.instances) for t in timed])
    ratios = ends / np.array([max(t.end, 1e-9) for t in timed])
    worst = int(np.argmax(ratios))
    ratio, counts = float(ratios[worst]), np.array([t.count or 0 for t in timed])
    if np.mean(ends <= counts + 1) >= 0.9:
        cause = "are times in snippets, or is the stride too short?"
    elif ratio <= 2:
        cause = "are durations, or the stride, too short?"
    elif ratio <= 65:
        cause = "are times in images, or in samples?"
    elif 300 < ratio <= 1050:
        cause = "are times in milliseconds, or in samples?"
    else:
        cause = "are times in samples?"
    return f"{timed[worst].recording.id} has one until {ends[worst]:g} and lasts {timed[worst].end:g} s: {cause}"


def _said(t: Timed) -> str:
    stride = t.stride or 0.0
    return f"{t.count} snippets x {stride:.4g} s = {(t.count or 0) * stride:.1f} s, annotated {t.end:.1f} s"


def _round(value: float, error: float) -> str:
    """The shortest number that is as exact as it can be known."""
    for digits in range(1, 5):
        text = f"{value:.{digits}g}"
        if abs(float(text) / value - 1) <= min(max(error, 1e-4), 0.02):
            return text
    return f"{value:.5g}"
