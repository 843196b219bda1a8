"""Framing: how a recording of any length becomes T snippets, whole, resized or cut into windows."""

import dataclasses
import math

import numpy as np

from tal_jax.data.dataset import QUANTILES, Metadata
from tal_jax.errors import InputError


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
        """How many stored snippets the frame spans for a recording of that many."""
        return float(num_snippets) if self.mode == "resize" else self.snippets * self.scale

    def offsets(self, num_snippets: int) -> np.ndarray:
        """Where detection's windows start, in stored snippets: evenly spread, the last one ends with the recording."""
        span = self.native_span(num_snippets)
        if num_snippets <= span:
            return np.zeros(1)
        count = 1 + math.ceil((num_snippets - span) / (span * (1 - self.overlap)))
        return np.floor(np.linspace(0, num_snippets - span, count))


def choose_framing(
    metadata: Metadata, split_snippets: int, *, mode: str, snippets: int, scale: float, overlap: float, keep: float,
    longest_action: int, max_snippets: int,
) -> Framing:  # fmt: skip
    """Fills in what the config leaves open (0) from the training set.

    scale=0: as fine as the data, but no finer than lets the long training actions (99 % of them are shorter) span
    `longest_action` frame snippets. snippets=0: as many as the longest recording needs, at most `max_snippets`; longer
    recordings are then windowed.

    Args:
      metadata: of the prepared set.
      split_snippets: stored snippets of its longest recording.
      mode, snippets, scale, overlap, keep: fields of `Framing`.
      longest_action, max_snippets: the limits above, in frame snippets.

    Raises:
      InputError: a field is out of range.
    """
    if mode not in ("window", "resize"):
        raise InputError(f"config: data.mode is 'window' or 'resize', not {mode!r}")
    if not 0 <= overlap < 1:
        raise InputError(f"config: data.overlap is in [0, 1), not {overlap}")
    if mode == "resize":
        if snippets < 1:
            raise InputError("config: data.mode='resize' needs data.snippets, the length to resize to")
        return Framing(mode, snippets, overlap=overlap, keep=keep)
    if scale == 0:
        long = long_action_snippets(metadata)
        scale = max(1.0, math.ceil(4 * long / longest_action) / 4)  # quarter steps: a readable number
    if snippets == 0:
        snippets = min(max_snippets, 16 * math.ceil(split_snippets / scale / 16))
    return Framing(mode, snippets, float(scale), overlap, keep)


def long_action_snippets(metadata: Metadata) -> float:
    """Length of a long training action (the 99 % quantile) in stored snippets; 0 where unknown."""
    if metadata.stride is None or not metadata.segment_seconds:
        return 0.0
    return metadata.segment_seconds[QUANTILES.index(0.99)] / metadata.stride


def resample(features: np.ndarray, offset: float, scale: float, count: int) -> np.ndarray:
    """Frame snippets from stored ones.

    Frame snippet i covers stored snippets [offset + i scale, offset + (i + 1) scale). Squeezing (scale > 1) averages
    what lies under it, stretching (scale < 1) interpolates linearly between centres, clamped at the ends.

    Args:
      features: [N, C].
      offset: in stored snippets.
      scale: stored snippets per frame snippet.
      count: number of frame snippets; those beyond the recording are cut off.

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
