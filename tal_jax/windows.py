"""Windows: recordings of any length become frames of T snippets, and what is found in frames becomes seconds again.

NumPy only, and no other file of the project: who detects with an exported model has no more than this.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# A detection cut off by the inner edge of a window is seen whole by the neighbouring window, which overlaps this one.
EDGE_PENALTY = 0.1
EDGE_SNIPPETS = 1.0
# NMS takes time quadratic in its candidates; an hour cut into three hundred windows has thirty thousand, nearly all of
# them background with scores near zero.
MERGE_CANDIDATES = 8192
# Features as a network sees them, normalised or as they are: beyond, what it makes of them is the sign of their noise.
FAR = {True: 1e6, False: 1e9}


FAR_STRIDE = 1.5  # strides that differ by this factor are of another sensor or encoder, or wrong


def strange_stride(stride: float, trained: float | None) -> str:
    """What to say of a stride that is far from the training's; "" where it is near, or the training had none.

    Args:
      stride: seconds per snippet of recordings.
      trained: seconds per snippet in training.
    """
    if trained is None or trained / FAR_STRIDE < stride < trained * FAR_STRIDE:
        return ""
    factor = stride / trained
    times = f"{factor:.3g} times as long" if factor > 1 else f"{1 / factor:.3g} times as short"
    return (
        f"a snippet every {stride:.6g} s, but the model was trained with one every {trained:.6g} s, {times}: is the "
        "stride right? The model has not seen such features"
    )


@dataclasses.dataclass(frozen=True)
class Framing:
    """The frame that a model sees.

    mode="window": a recording of up to T frame snippets is padded, a longer one is cut into overlapping windows.
    mode="resize": every recording is stretched or squeezed to exactly T snippets.
    """

    mode: str
    snippets: int  # T
    scale: float = 1.0  # stored snippets per frame snippet, for mode="window"
    overlap: float = 0.5  # of neighbouring windows in detection, as a fraction of T
    keep: float = 0.75  # training keeps a segment that lies in the window with at least this fraction

    def native_span(self, num_snippets: int) -> float:
        """How many stored snippets the frame spans, for a recording of `num_snippets` stored ones."""
        return float(num_snippets) if self.mode == "resize" else self.snippets * self.scale

    def scale_of(self, num_snippets: int) -> float:
        """Stored snippets per frame snippet, for a recording of `num_snippets` stored ones."""
        return self.native_span(num_snippets) / self.snippets

    def offsets(self, num_snippets: int) -> np.ndarray:
        """Where the windows of detection start, in stored snippets: evenly spread, the last ends with the recording.

        Args:
          num_snippets: how many snippets of the recording are stored.

        Returns:
          [n] float64, rising from 0; n = 1 where the frame spans the whole recording.
        """
        span = self.native_span(num_snippets)
        if num_snippets <= span:
            return np.zeros(1)
        count = 1 + math.ceil((num_snippets - span) / (span * (1 - self.overlap)))
        return np.floor(np.linspace(0, num_snippets - span, count))


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Per-channel statistics: features become (x - mean) / std."""

    mean: np.ndarray  # [C] float32
    std: np.ndarray  # [C] float32, positive

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Normalises features x [T, C] -> [T, C] float32."""
        return (x - self.mean) / self.std

    def undone(self, x: np.ndarray) -> np.ndarray:
        """The inverse: normalised features x [T, C] -> [T, C] in the units they had before."""
        return x * self.std + self.mean

    def of(self, channels: Sequence[int]) -> "Normalization":
        """The statistics of these channels alone, in their order."""
        return Normalization(self.mean[channels], self.std[channels])


def resample(features: np.ndarray, offset: float, scale: float, count: int) -> np.ndarray:
    """Frame snippets from stored ones.

    Frame snippet i covers stored snippets [offset + i scale, offset + (i + 1) scale). Squeezing (scale > 1) averages
    what lies under it, stretching (scale < 1) interpolates linearly between centres, clamped at the ends.

    Args:
      features: [N, C] as stored.
      offset: where the first frame snippet begins, in stored snippets.
      scale: stored snippets per frame snippet.
      count: how many frame snippets are wanted; those beyond the recording are cut off.

    Returns:
      [n, C] float32 with n = min(count, ceil((N - offset) / scale)).
    """
    total = len(features)
    n = max(0, min(count, math.ceil((total - offset) / scale - 1e-6)))
    if scale == 1 and offset == int(offset):
        return features[int(offset) : int(offset) + n].astype(np.float32)
    if scale > 1:
        edges = np.minimum(offset + scale * np.arange(n + 1), total)
        low = np.minimum(edges.astype(np.int64), total - 1)
        sums = np.concatenate([np.zeros((1, features.shape[1])), np.cumsum(features, axis=0, dtype=np.float64)])
        integral = sums[low] + (edges - low)[:, None] * features[low]
        return (np.diff(integral, axis=0) / np.diff(edges)[:, None]).astype(np.float32)
    centre = np.clip(offset + scale * (np.arange(n) + 0.5) - 0.5, 0, total - 1)
    low = np.minimum(centre.astype(np.int64), max(total - 2, 0))
    high = np.minimum(low + 1, total - 1)
    weight = (centre - low)[:, None].astype(np.float32)
    return features[low].astype(np.float32) * (1 - weight) + features[high].astype(np.float32) * weight


def read_window(
    streams: Sequence[np.ndarray], offset: float, scale: float, count: int, normalization: Normalization | None = None
) -> np.ndarray:
    """The frame snippets of a window, read from its own rows alone: arrays on disk stay there.

    Args:
      streams: the arrays [N, C_i] of one recording; the longer ones are cut to the shortest.
      offset, scale, count: see `resample`.
      normalization: the statistics of all channels, streams side by side; None leaves the features as stored.

    Returns:
      [n, C] float32, streams side by side.
    """
    total = min(len(x) for x in streams)
    # One more row on either side, for interpolation.
    low = max(math.floor(offset) - 1, 0)
    high = min(math.ceil(offset + scale * count) + 1, total)
    with np.errstate(over="ignore"):  # what float32 does not hold is infinite, and for those to refuse who read files
        stored = np.concatenate([np.asarray(x[low:high], np.float32) for x in streams], axis=1)
    return resample(stored if normalization is None else normalization(stored), offset - low, scale, count)


def faults(x: np.ndarray, normalization: Normalization | None) -> str:
    """What is wrong with the features [n, C] of a window as `read_window` returns them, in words; "" where nothing."""
    most = FAR[normalization is not None]
    if x.min(initial=0) >= -most and x.max(initial=0) <= most:  # neither holds of NaN
        return ""
    if not np.isfinite(x).all():
        return "features that are not finite, or too large for float32: extract them again"
    far = float(np.abs(x).max(initial=0))
    size = (
        f"{far:.3g} standard deviations from the training's mean" if normalization is not None else f"up to {far:.3g}"
    )
    return f"features {size}: are they of the training's kind and units?"


@dataclasses.dataclass(frozen=True)
class Window:
    """Where a window lies in its recording."""

    snippets: int  # T
    real: int  # snippets that exist, at most T
    stride: float  # seconds per frame snippet
    start: float  # seconds
    duration: float  # real length in frame snippets, at most T
    recording: float  # seconds of the whole recording

    @classmethod
    def at(cls, offset: float, scale: float, real: int, *, snippets: int, stride: float, recording: float) -> "Window":
        """The window at a place of a recording.

        Args:
          offset: where it starts, in stored snippets.
          scale: stored snippets per frame snippet.
          real: how many of its snippets exist, at most T.
          snippets: T.
          stride: seconds per stored snippet.
          recording: seconds of the whole recording.
        """
        own, start = stride * scale, stride * offset
        # The last snippet may be cut short, or the recording may go on for a moment after its last whole snippet.
        duration = min(snippets, max((recording - start) / own, real - 1 + 1e-3))
        return cls(snippets, real, own, start, duration, recording)

    def padded(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features x [n, C] with zeros up to [T, C], and the mask [T] bool of those that exist."""
        features = np.zeros((self.snippets, x.shape[1]), np.float32)
        features[: len(x)] = x
        return features, np.arange(self.snippets) < self.real

    def to_window(self, seconds: np.ndarray, keep: float) -> tuple[np.ndarray, np.ndarray]:
        """Segments in the window's own units.

        Args:
          seconds: [N, 2] of the recording.
          keep: the least fraction of a segment that has to lie in the window.

        Returns:
          All segments [N, 2] in frame snippets, cut to the window, and the indices [n] of those that lie in it.
        """
        units = (seconds - self.start) / self.stride
        inside = np.clip(units, 0, self.duration)
        length = np.maximum(units[:, 1] - units[:, 0], 1e-9)
        part = (inside[:, 1] - inside[:, 0]) / length
        return inside, np.flatnonzero((part >= keep) & (inside[:, 1] > inside[:, 0]))

    def best(self, seconds: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The best proposals of which at least half lies in the window.

        Args:
          seconds: [N, 2] of the recording.
          scores: [N].
          count: how many are taken at most.

        Returns:
          Segments [P, 2] in frame snippets and scores [P], P <= `count`.
        """
        framed, inside = self.to_window(np.asarray(seconds, np.float64), 0.5)
        chosen = inside[np.argsort(-scores[inside], kind="stable")][:count]
        return framed[chosen], scores[chosen]

    def to_recording(self, found: "WindowDetections") -> "WindowDetections":
        """Detections of this window in frame snippets, padded -> in seconds of the recording, without padding.

        Those that an inner edge of the window cuts off lose score: the neighbouring window sees them whole.
        """
        segments, labels, scores, _ = (x[found.mask] for x in found)
        cut = np.zeros(len(scores), bool)
        if self.start > 0:
            cut |= segments[:, 0] < EDGE_SNIPPETS
        if self.start + self.snippets * self.stride < self.recording - self.stride:
            cut |= segments[:, 1] > self.snippets - EDGE_SNIPPETS
        seconds = np.clip(segments.astype(np.float64) * self.stride + self.start, 0, self.recording)
        scores = np.where(cut, EDGE_PENALTY, np.float32(1)).astype(np.float32) * scores
        kept = seconds[:, 1] > seconds[:, 0]
        return WindowDetections(seconds[kept], labels[kept], scores[kept], np.ones(np.count_nonzero(kept), bool))


class WindowDetections(NamedTuple):
    """Detections of one window or recording, as `types.Detections` has them."""

    segments: Any  # [P, 2]
    labels: Any  # [P] int32
    scores: Any  # [P] float32
    mask: Any  # [P] bool


def is_finite(found: WindowDetections) -> bool:
    """Whether all times and scores are: those of the padding do not count."""
    return bool(np.isfinite(found.segments[found.mask]).all() and np.isfinite(found.scores[found.mask]).all())


def concatenated(windows: Sequence[WindowDetections], least: int = 2) -> WindowDetections:
    """The detections of all windows of a recording, padded to a power of two: few shapes, few compilations.

    Args:
      windows: the detections of each window, in one unit of time.
      least: the size that is padded to at least, a power of two.

    Returns:
      The best MERGE_CANDIDATES of all, with the best one of every label among them, padded; the mask says which are
      real.
    """
    found = WindowDetections(*(np.concatenate(x) for x in zip(*windows, strict=True)))
    if len(found.scores) > MERGE_CANDIDATES:
        order = np.argsort(-found.scores, kind="stable")
        # A classifier's recording has as many as windows x classes, of which the best of each class are the answer.
        firsts = np.sort(np.unique(found.labels[order], return_index=True)[1])
        order = np.concatenate([order[firsts], np.delete(order, firsts)])
        best = np.sort(order[:MERGE_CANDIDATES])
        found = WindowDetections(*(x[best] for x in found))
    count = len(found.scores)
    size = max(least, 1 << max(count - 1, 1).bit_length())
    return WindowDetections(*(np.pad(x, [(0, size - count)] + [(0, 0)] * (x.ndim - 1)) for x in found))
