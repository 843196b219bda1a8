"""The two structs that everything speaks: `Batch` goes into a task, `Detections` come out."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Num

from tal_jax.batch_layout import Sizes

# What an annotation's shape belongs to, as in Float[Array, "B T C"]; a tracer is a jax.Array.
# Letters: B batch, T snippets, C feature channels, H hidden channels, K classes, G ground-truth slots, P proposals,
# S sample points, N heads, W window, M anchors, D durations (of a clip: pooled features), L pyramid levels.
Array = jax.Array | np.ndarray
# A number, which a program that is traced may take as an argument.
Scalar = float | np.floating | Float[Array, ""]


@flax.struct.dataclass
class Batch:
    """A padded batch of recordings, or of windows of recordings. Masks say what is real; padding changes no result.

    *B is one axis, or none for a row by itself. Segments and proposals are in snippet units: seconds = x * stride,
    snippet i covers [i, i + 1).
    """

    features: Num[Array, "*shape"]  # [*B, T, C]; of packed clips images of bytes, [*B, T, Y, X, C]
    mask: Bool[Array, "*B T"]  # the snippet exists
    stride: Float32[Array, "*B"]  # seconds per snippet
    duration: Float32[Array, "*B"]  # real length in snippet units, at most T
    labels: Float32[Array, "*B K"]  # 1 for every class present
    segments: Float32[Array, "*B G 2"]  # (start, end), start < end where segment_mask
    segment_labels: Int32[Array, "*B G"]
    segment_mask: Bool[Array, "*B G"]
    proposals: Float32[Array, "*B P 2"]  # (start, end); P = 0 for stages without proposals
    proposal_scores: Float32[Array, "*B P"]
    proposal_mask: Bool[Array, "*B P"]
    class_scores: Float32[Array, "*B K"]  # class probabilities of the whole recording, zeros where there are none
    clips: "Batch | None" = None  # trimmed recordings for knowledge transfer
    clip_features: Float32[Array, "*B D"] | None = None  # a clip's pooled features by the frozen trimmed branch

    @classmethod
    def make(
        cls,
        features: Float[Array, "*B T C"],
        mask: Bool[Array, "*B T"] | None = None,
        *,
        num_classes: int = 0,
        num_segments: int = 0,
        num_proposals: int = 0,
        **fields: Any,
    ) -> "Batch":
        """A batch from features and whatever else is known; the rest is filled in.

        Left out, the mask is True, the stride 1 second and the duration the number of real snippets. Segments and
        proposals that are given are all real, of class 0 and with score 1, unless their other fields are given too.
        Everything else is zero.

        Args:
          features: of NumPy or JAX, and so is what is filled in.
          mask: True where a snippet is real.
          num_classes: K, where neither `labels` nor `class_scores` are given.
          num_segments: G, where `segments` are not given.
          num_proposals: P, where `proposals` are not given.
          **fields: the other fields of `Batch` that are known, by name.

        Raises:
          TypeError: `Batch` has no such field.
        """
        xp: Any = np if isinstance(features, np.ndarray) else jnp
        *rows, snippets, channels = features.shape
        scores = fields.get("labels", fields.get("class_scores"))
        sizes = Sizes(
            snippets,
            channels,
            classes=num_classes if scores is None else scores.shape[-1],
            segments=fields["segments"].shape[-2] if "segments" in fields else num_segments,
            proposals=fields["proposals"].shape[-2] if "proposals" in fields else num_proposals,
        )
        mask = xp.ones((*rows, sizes.snippets), bool) if mask is None else mask
        given = {"features": features, "mask": mask, **fields}
        given.setdefault("stride", xp.ones((*rows,), np.float32))
        given.setdefault("duration", xp.sum(mask, axis=-1, dtype=np.float32))
        real = {"segment_mask": "segments", "proposal_mask": "proposals", "proposal_scores": "proposals"}
        for name in sizes.fields:
            if name not in given:
                shape, dtype = sizes.array(name)
                given[name] = xp.full((*rows, *shape), real.get(name) in fields, dtype)
        return cls(**given)

    @classmethod
    def spec(cls, sizes: Sizes, *rows: Any) -> "Batch":
        """Shapes and types of a batch: a Batch of `jax.ShapeDtypeStruct`, without clips.

        Args:
          sizes: the lengths of the axes.
          *rows: B, which may be a symbol of `jax.export`; left out, it is one row without a batch axis.
        """
        layout = ((name, *sizes.array(name)) for name in sizes.fields)
        fields: dict[str, Any] = {name: jax.ShapeDtypeStruct((*rows, *shape), dtype) for name, shape, dtype in layout}
        return cls(**fields)


@flax.struct.dataclass
class Detections:
    """Scored, labelled segments in snippet units, best first. Label -1 means class-agnostic: a proposal."""

    segments: Float32[Array, "*B P 2"]  # (start, end)
    labels: Int32[Array, "*B P"]  # in [0, K) or -1
    scores: Float32[Array, "*B P"]
    mask: Bool[Array, "*B P"]  # the detection exists
