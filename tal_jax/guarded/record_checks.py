"""What holds of every set and record: a checksum shows that bytes are as they were written, not that they can be."""

import math
from typing import Any

import numpy as np


def check_metadata(metadata: Any) -> None:
    """Raises ValueError or TypeError where `dataset.Metadata` are not of their types, or cannot be."""
    labels, stride = metadata.labels, metadata.stride
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        raise ValueError("classes that are not text, each once")
    for name, counts in (("streams", metadata.streams), ("splits", metadata.splits)):
        if not counts or not all(type(count) is int and count > 0 for count in counts.values()):
            raise ValueError(f"{name} {counts!r:.60}")
    if stride is not None and not (isinstance(stride, int | float) and np.isfinite(stride) and stride > 0):
        raise ValueError(f"a stride of {stride!r:.20}")


def check_record(record: Any, classes: int) -> None:
    """Checks a record as it was decoded.

    Args:
      record: a `data.record.Record`.
      classes: L, how many classes the set has.

    Raises:
      ValueError: its streams differ in length or are empty, a time is not finite or not positive, a segment is
        reversed or outside the recording, or a class is not one of the set's.
    """
    # Every record that is read comes by here: plain numbers are compared faster than arrays of a few.
    lengths = [len(x) for x in record.features.values()]
    if len(set(lengths)) > 1 or 0 in lengths:
        raise ValueError(f"streams of {dict(zip(record.features, lengths, strict=True))} snippets")
    for name in ("stride", "duration"):
        value = getattr(record, name)
        if not 0 < value < math.inf:  # false of NaN as well
            raise ValueError(f"a {name} of {value} s")
    if len(record.labels) != len(record.segments):
        raise ValueError(f"{len(record.segments)} segments with {len(record.labels)} labels")
    for start, end in record.segments.tolist():
        if not 0 <= start < end <= record.duration:
            raise ValueError(f"a segment from {start} to {end} s in a recording of {record.duration} s")
    for number in (*record.labels.tolist(), *record.present.tolist()):
        if not 0 <= number < classes:
            raise ValueError(f"class number {number}, the set has {classes} classes")
