"""Which channels of a stream are x, y and z of three-axis sensors, told from the samples themselves.

An accelerometer shows itself by gravity: the length of what it measures is nearly always the same, and its direction
changes slowly. A snippet holds S samples of N sensors along A = 3 axes, written out in any order of these three.
"""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np

UNITS = {"m/s2": 9.81, "g": 1.0}  # the length of gravity, whatever the orientation, but for movement
OTHER_UNIT = "another unit"  # such as counts of a converter: gravity has any length
NEAR = 0.1  # the median length may be that far from gravity's, as a fraction
MOVING = 0.2  # and that far, of lengths that are steady: people who move are in free fall, or brake
ALIKE = 0.15  # and that far from those of the same sensor's other samples
GLANCE = 300  # snippets
STEADY = 0.4  # half of the lengths lie closer together than this fraction of their median; of noise 0.6
SLOW = 0.7  # mean cosine between directions one sample apart; of noise 0
TURNED = 0.9  # length of the mean direction of a device that was seen in several positions, at most
ALWAYS = 0.99  # of the snippets
SMOOTH = 0.5  # mean square difference of neighbouring samples over twice the variance, at most; of noise 1
CLEARLY = 0.75  # another order than the usual one has a score that is lower by this factor
NEARLY = 0.9  # and is as good a reading where scores differ by less
MOST_SENSORS = 3  # accelerometer, gyroscope, magnetometer
USUAL = "SNA"
ORDERS = (USUAL, "NSA", "SAN", "NAS", "ASN", "ANS")
ORDER_NAMES = {
    "SNA": "x y z of each sensor, sample by sample",
    "NSA": "sensor by sensor, x y z of each sample",
    "SAN": "sample by sample, x of all sensors, then y, then z",
    "NAS": "sensor by sensor, x of all samples, then y, then z",
    "ASN": "x of all samples, then y, then z, sensors side by side",
    "ANS": "x of all sensors, then y, then z, samples side by side",
}
SENSOR = re.compile(r"acc|gyr|mag(?!e)|imu|angular|gravity|inertial", re.IGNORECASE)
NO_VECTOR = re.compile(r"orient|euler|quat|attitude|magnitude|rgb|flow", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How S samples of N sensors with three axes lie in the channels of a snippet."""

    samples: int  # S
    sensors: int  # N
    order: str = USUAL  # of ORDERS, the slowest first
    unit: str = ""  # of the accelerometer; "" without one
    unsure: bool = False  # another order fits nearly as well

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels as x, y, z of each sensor, sample by sample."""
        return tuple(self.view(np.arange(3 * self.samples * self.sensors)[None]).ravel().tolist())

    @property
    def triples(self) -> frozenset[tuple[int, ...]]:
        """The channels of each vector: what turns, in whatever order the vectors come."""
        flat = self.channels
        return frozenset(flat[i : i + 3] for i in range(0, len(flat), 3))

    def view(self, x: np.ndarray) -> np.ndarray:
        """Snippets [T, 3 S N] -> [T, S, N, 3]."""
        sizes = {"S": self.samples, "N": self.sensors, "A": 3}
        split = x.reshape(len(x), *(sizes[axis] for axis in self.order))
        return split.transpose(0, *(1 + self.order.index(axis) for axis in USUAL))

    def __str__(self) -> str:
        parts = [f"{self.samples} {'sample' if self.samples == 1 else 'samples'}"]
        parts += [f"of {self.sensors} sensors"] * (self.sensors > 1) + [f"in {self.unit}"] * bool(self.unit)
        usual = self.triples == Layout(self.samples, self.sensors).triples
        names = ["x y z in turn" if usual and self.order == USUAL else ORDER_NAMES[self.order]]
        names += ["assumed, other orders fit as well"] * self.unsure
        return f"{' '.join(parts)}, {', '.join(names)}"


def tell(x: np.ndarray) -> Layout | str:
    """The layout of a stream with an accelerometer, or why there is none to be seen.

    Every sensor's vectors have nearly the same median length in all S samples; one sensor's length is gravity's, in
    m/s2 or g, or a steady one in any unit whose direction varies. A mean and a deviation beside each other are not
    alike, a minimum is always below what stands beside it, and noise or an encoder's features have no steady length.

    Args:
      x: [T, C] features of snippets, not normalised, in the order of time.
    """
    if len(x) == 0 or x.shape[1] == 0:
        return "holds nothing"
    if x.shape[1] % 3:
        return _no_triples(x)
    if not np.isfinite(x).all():
        return "holds values that are not finite"
    if len(x) > 1 and (np.abs(x.mean(0)) < 0.1).all() and (np.abs(x.std(0) - 1) < 0.15).all():
        return "standardised, so that gravity is gone: prepare raw samples"
    scores: dict[Layout, float] = {}
    single = [layout.view(x) for layout in _layouts(x.shape[1]) if layout.samples == 1]
    if not all(map(vectors, single)):
        return "its triples are no samples: one is above or below another throughout, or never negative"
    for layout in _layouts(x.shape[1]):
        v = layout.view(x)
        if not (_alike(v) and vectors(v)):
            continue
        found = [(unit, n) for n in range(layout.sensors) if (unit := _unit(v[:, :, n]))]
        if found:
            unit, sensor = min(found, key=lambda one: [*UNITS, OTHER_UNIT].index(one[0]))
            scores[dataclasses.replace(layout, unit=unit)] = _score(v[:, :, sensor])
    if not scores:
        return "no three channels of a steady length, as gravity has"
    fewest = min(layout.sensors for layout in scores)  # of which all vectors are gravity's
    scores = {layout: score for layout, score in scores.items() if layout.sensors == fewest}
    best = min(scores, key=lambda layout: scores[layout])
    usual = next((layout for layout in scores if layout.order == USUAL), best)
    chosen = best if scores[best] < CLEARLY * scores[usual] else usual
    others = [score for layout, score in scores.items() if layout.triples != chosen.triples]
    return dataclasses.replace(chosen, unsure=min(others, default=np.inf) <= scores[chosen] / NEARLY)


class Unclear(str):
    """Why it is not clear whether a stream belongs to a device."""


def tell_companion(x: np.ndarray, name: str, beside: Layout) -> Layout | str:
    """The layout of a stream without an accelerometer that lies beside one: a gyroscope's, say.

    Its vectors are alike in all samples; its name says that it is a sensor, or neighbouring samples, as many as the
    accelerometer has, differ little.

    Args:
      x: [T, C] features of snippets, not normalised.
      name: the stream's name, which may say what it is.
      beside: the layout of the stream with the accelerometer.

    Returns:
      The layout; or why there is none, `Unclear` where the stream may be a sensor of the same device all the same.
    """
    named = bool(SENSOR.search(name))
    if x.shape[1] % 3 and not named:
        return _no_triples(x)
    if NO_VECTOR.search(name):
        return "its name says that it holds no vectors"
    roughness: dict[Layout, float] = {}
    of_same_length = False
    if len(x) and np.isfinite(x).all():
        for layout in _layouts(x.shape[1]):
            same = layout.samples == beside.samples
            of_same_length |= same
            if (named or same) and _alike(v := layout.view(x)) and vectors(v):
                roughness[layout] = _roughness(v)
    if not roughness:
        if named:
            return Unclear("its name is a sensor's, but its channels are no x, y and z of samples")
        return "no samples of a sensor" if of_same_length else f"{x.shape[1]} channels, other than the accelerometer's"
    best = min(roughness, key=lambda layout: (layout.samples != beside.samples, roughness[layout]))
    alike = [layout for layout in roughness if (layout.samples, layout.order) == (best.samples, beside.order)]
    smooth = best.samples > 1 and roughness[best] <= SMOOTH
    if alike and not (smooth and roughness[best] < CLEARLY * roughness[alike[0]]):
        best = alike[0]
    return best if named or smooth else Unclear("may be another sensor of it")


def vectors(v: np.ndarray) -> bool:
    """Whether [T, S, N, 3] may be vectors: none is above or below another throughout, as extremes are beside a mean.

    Of a single sample, where means and deviations may stand side by side, no triple is all positive throughout.
    """
    t, s, n, _ = v.shape
    if s > 1:
        flat = v.reshape(t, s, 3 * n)
        highest, lowest = (flat >= flat.max(1, keepdims=True)).mean(0), (flat <= flat.min(1, keepdims=True)).mean(0)
        return not bool(((highest > ALWAYS).all(1) | (lowest > ALWAYS).all(1)).any())
    one = v[:, 0]
    if n > 1 and bool((one >= 0).all((0, 2)).any()):
        return False
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    return not any(bool(((one[:, i] >= one[:, j]).mean(0) > ALWAYS).all()) for i, j in pairs)


def _no_triples(x: np.ndarray) -> str:
    return f"{x.shape[1]} channels are no triples of x, y and z: data.triaxial names those that are"


def _layouts(width: int) -> Iterator[Layout]:
    """All layouts of so many channels, each once: with one sample or one sensor several orders are one."""
    seen = set()
    for sensors in range(1, MOST_SENSORS + 1):
        for order in ORDERS if width % (3 * sensors) == 0 else ():
            layout = Layout(width // (3 * sensors), sensors, order)
            key = (sensors, layout.channels)
            if key not in seen:
                seen.add(key)
                yield layout


def _lengths(v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("...a,...a->...", v, v, dtype=np.float64))


def _alike(v: np.ndarray) -> bool:
    """Whether every sensor of [T, S, N, 3] has vectors of about the same median length in all samples."""
    for rows, tolerance in ((v[:: len(v) // GLANCE + 1], 2 * ALIKE), (v, ALIKE)):  # most are seen to differ at a glance
        lengths = np.median(_lengths(rows), axis=0)
        middle = np.median(lengths, axis=0)
        if not (np.abs(lengths - middle) <= tolerance * middle).all():
            return False
    return True


def _unit(v: np.ndarray) -> str:
    """The unit in which the samples of one sensor [T, S, 3] show gravity; "" where they do not."""
    lengths = _lengths(v)
    middle = float(np.median(np.median(lengths, axis=0)))
    if middle <= 0:
        return ""
    away = {unit: abs(middle - length) / length for unit, length in UNITS.items()}
    if away["m/s2"] <= NEAR and v.shape[1] > 1:
        return "m/s2"  # it says enough: no statistics of several triples are all as long
    glance = slice(None, None, len(v) // GLANCE + 1)
    if v.shape[1] > 1 and not _persists(v[glance], lengths[glance], STEADY + 0.1, SLOW - 0.1):
        return ""
    if not _persists(v, lengths, STEADY, SLOW):
        return ""
    if away["m/s2"] <= MOVING:
        return "m/s2"
    if bool((v >= 0).all()):
        return ""  # shares, such as probabilities, may be of length 1
    if away["g"] <= MOVING:
        return "g"
    mean = (v / np.maximum(lengths, 1e-30)[..., None]).mean((0, 1))
    return OTHER_UNIT if float(np.linalg.norm(mean)) <= TURNED else ""


def _persists(v: np.ndarray, lengths: np.ndarray, steady: float, slow: float) -> bool:
    """Whether vectors [T, S, 3] of lengths [T, S] keep their length, and from sample to sample their direction."""
    series, norms = (v.swapaxes(0, 1), lengths.T) if v.shape[1] == 1 else (v, lengths)  # of one sample: along time
    if series.shape[1] < 2:
        return False
    direction = series / np.maximum(norms, 1e-30)[..., None]
    if np.einsum("nsa,nsa->ns", direction[:, 1:], direction[:, :-1]).mean() < slow:
        return False
    low, middle, high = np.quantile(lengths, [0.25, 0.5, 0.75])
    return bool(high - low <= steady * middle)


def _score(v: np.ndarray) -> float:
    """How little the samples of one sensor [T, S, 3] look like gravity: 0 were a device at rest."""
    lengths = _lengths(v)
    low, high = np.quantile(lengths, [0.25, 0.75])
    moved = float(np.square(np.diff(v, axis=1)).sum(-1).mean()) if v.shape[1] > 1 else 0.0
    return float((high - low) / np.median(lengths)) + moved / float(np.square(lengths).mean())


def _roughness(v: np.ndarray) -> float:
    """Mean square difference of neighbouring samples of [T, S, N, 3] over twice their variance; 1 for one sample."""
    if v.shape[1] == 1:
        return 1.0
    spread = float(np.square(v - v.mean((0, 1))).sum(-1).mean())
    return float(np.square(np.diff(v, axis=1)).sum(-1).mean()) / max(2 * spread, 1e-30)
