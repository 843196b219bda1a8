"""Trimmed clips for knowledge transfer: which of an annotation file's recordings are packed beside a set."""

import os
from collections.abc import Collection

from tal_jax.checks.ignored import leave_out_known
from tal_jax.data import annotations
from tal_jax.data.annotations import Note, Recording
from tal_jax.errors import InputError
from tal_jax.words import nearest, quoted


def read(
    path: str | os.PathLike, labels: Collection[str], ignored: Collection[str] = (), *, keep_untimed: bool = False
) -> tuple[dict[str, Recording], list[Note]]:
    """Reads the clips that can be learned from: those of the training subset that have a label.

    Args:
      path: an annotation file as `annotations.read` takes it.
      labels: the classes of the set.
      ignored: classes that do not count: a clip is as if it had no such label.
      keep_untimed: as of `annotations.read`.

    Returns:
      The clips by id, and notes of the kinds "clip subset" and "clip without label" on those that were left out.

    Raises:
      InputError: a label that is no class of the set, no clip to learn from, or see `annotations.read`.
    """
    kept, notes = {}, []
    clips = leave_out_known(annotations.read(path, keep_untimed=keep_untimed), ignored, str(path))
    for id, clip in sorted(clips.items()):
        if clip.subset != "training":
            notes.append(Note("clip subset", id, clip.subset))
        elif not clip.labels:
            notes.append(Note("clip without label", id, f"no annotation in {path}"))
        else:
            kept[id] = clip
            for label in clip.labels:
                if label not in labels:
                    raise InputError(
                        f"{path}: record {id}: unknown label {quoted(label)}: the set has no such class: "
                        f"{nearest(label, labels) or 'correct the label, or leave the clip out of the file'}"
                    )
    if not kept:
        raise InputError(f"{path}: no clip of the training subset has a label: add some, or leave --clips out")
    return kept, notes
