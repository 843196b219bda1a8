"""A recording to detect in, as it is given to an exported model and while the model's stages work on it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tal_jax.windows import WindowDetections

Segments = tuple[np.ndarray, np.ndarray]  # seconds [P, 2], scores [P]


@dataclass(frozen=True)
class Recording:
    """A recording to detect in. Arrays may lie on disk (`np.load(.., mmap_mode="r")`): only rows at work are read."""

    streams: Sequence[np.ndarray]  # [T, C_i] each
    id: str = "recording"  # for messages
    stride: float | None = None  # seconds per snippet; None: the model's
    duration: float | None = None  # seconds; None: snippets x stride
    proposals: Segments | None = None  # where no stage of the model makes them
    class_scores: np.ndarray | None = None  # [K], likewise


@dataclass
class ResolvedRecording:
    """A recording that fits the model, with every field known, while the stages work on it."""

    id: str
    streams: Sequence[np.ndarray]
    stride: float
    duration: float
    proposals: Segments | None
    class_scores: np.ndarray | None
    found: WindowDetections | None = field(default=None)

    def __len__(self) -> int:
        return min(len(x) for x in self.streams)
