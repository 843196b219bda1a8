"""The layout of a batch: each field's axes and type, written once. NumPy only, as `windows` is.

`types.Batch` says what the fields mean; its specification, empty rows and the inputs of exported models come from here.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

# Axes of one row: T snippets, C channels, K classes, G segments, P proposals, 2 ends, D pooled features of a clip. Of a
# packed clip T are images, and features have their rows and columns before the channels.
LAYOUT: Mapping[str, tuple[str, type]] = {
    "features": ("TC", np.float32),
    "mask": ("T", np.bool_),
    "stride": ("", np.float32),
    "duration": ("", np.float32),
    "labels": ("K", np.float32),
    "segments": ("G2", np.float32),
    "segment_labels": ("G", np.int32),
    "segment_mask": ("G", np.bool_),
    "proposals": ("P2", np.float32),
    "proposal_scores": ("P", np.float32),
    "proposal_mask": ("P", np.bool_),
    "class_scores": ("K", np.float32),
    "clip_features": ("D", np.float32),
}
# What a prediction reads: all but the truth and the features of trimmed clips.
INPUTS = (
    "features", "mask", "stride", "duration", "proposals", "proposal_scores", "proposal_mask", "class_scores",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How long a batch's axes are; T may be a symbol of `jax.export`."""

    snippets: Any  # T
    channels: int  # C
    classes: int  # K
    segments: int = 0  # G
    proposals: int = 0  # P
    clip_features: int | None = None  # D; None: the batch does not carry them
    pixels: tuple[int, int] | None = None  # (Y, X) of images in place of feature vectors; None: there are none

    def shape(self, axes: str) -> tuple[Any, ...]:
        """The lengths of axes that are named by their letters in LAYOUT, as in "TC"."""
        length = {
            "T": self.snippets,
            "C": self.channels,
            "K": self.classes,
            "G": self.segments,
            "P": self.proposals,
            "D": self.clip_features,
            "2": 2,
        }
        return tuple(length[axis] for axis in axes)

    def array(self, name: str) -> tuple[tuple[Any, ...], type]:
        """The shape and type of a field of one row."""
        axes, dtype = LAYOUT[name]
        if name == "features" and self.pixels is not None:
            return (self.snippets, *self.pixels, self.channels), np.uint8
        return self.shape(axes), dtype

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that a batch of these sizes has."""
        return tuple(name for name in LAYOUT if name != "clip_features" or self.clip_features is not None)


def empty(sizes: Sizes, *rows: int) -> dict[str, Any]:
    """The fields of rows without anything real.

    Args:
      sizes: the lengths of the axes.
      *rows: B; left out, it is one row without a batch axis.

    Returns:
      Arrays by the name of their field: zeros, False, and a stride of 1 second.
    """
    layout = {name: sizes.array(name) for name in sizes.fields}
    fields = {name: np.zeros((*rows, *shape), dtype) for name, (shape, dtype) in layout.items()}
    fields["stride"][...] = 1
    return fields
