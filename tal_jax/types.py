"""The two structs that everything speaks: `Batch` goes into a task, `Detections` come out."""

from typing import Any

import flax.struct

# A jax.Array, a NumPy array or scalar, or a tracer: the same struct holds all of them on its way.
Array = Any


@flax.struct.dataclass
class Batch:
    """A padded batch of recordings, or of windows of recordings. Masks say what is real; padding changes no result.

    Segments and proposals are in snippet units: seconds = x * stride, snippet i covers [i, i + 1).
    """

    features: Array  # [B, T, C] floating
    mask: Array  # [B, T] bool: the snippet exists
    stride: Array  # [B] float32: seconds per snippet
    duration: Array  # [B] float32: real length in snippet units, at most T
    labels: Array  # [B, K] float32: 1 for every class present
    segments: Array  # [B, G, 2] float32 (start, end), start < end where segment_mask
    segment_labels: Array  # [B, G] int32
    segment_mask: Array  # [B, G] bool
    proposals: Array  # [B, P, 2] float32 (start, end); P = 0 for stages without proposals
    proposal_scores: Array  # [B, P] float32
    proposal_mask: Array  # [B, P] bool
    class_scores: Array  # [B, K] float32: video-level class probabilities from elsewhere, zeros where there are none
    clips: "Batch | None" = None  # trimmed recordings for knowledge transfer
    knowledge: Array | None = None  # [B, D] float32: a clip's pooled features by the frozen trimmed branch


@flax.struct.dataclass
class Detections:
    """Scored, labelled segments in snippet units, best first. Label -1 means class-agnostic: a proposal."""

    segments: Array  # [B, P, 2] float32
    labels: Array  # [B, P] int32
    scores: Array  # [B, P] float32
    mask: Array  # [B, P] bool
