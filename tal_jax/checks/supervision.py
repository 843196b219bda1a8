"""What of a set can be learned from: recordings with segments, with labels alone, and with nothing."""

import unicodedata
from collections.abc import Iterable, Mapping

from tal_jax import words
from tal_jax.checks.doubts import Doubt
from tal_jax.data import annotations, dataset
from tal_jax.data.annotations import Note, Recording
from tal_jax.words import shown


def doubts(path: str, recordings: Mapping[str, Recording]) -> list[Doubt]:
    """Doubts "untimed" and "no_segments" of an annotation file.

    Where there is no training split, the first one there is takes its place; without any annotation, it is there to be
    detected in.
    """
    found = []
    if text := annotations.untimed(recordings.values()):
        found.append(Doubt("untimed", f"{path}: {text}"))
    first = next((split for split in dataset.SPLITS if any(r.subset == split for r in recordings.values())), "")
    group = [recording for recording in recordings.values() if recording.subset == first]
    if any(recording.instances for recording in group):
        return found
    labelled = [recording.id for recording in group if recording.labels]
    if labelled:
        what = f"its {len(labelled):,} annotated {first} recordings have labels alone, {annotations.some(labelled)}"
    elif first == dataset.SPLITS[0]:
        what = f"none of its {len(group):,} {first} recordings is annotated"
    else:
        return found
    text = f"{path}: no segment to learn from: {what}: supervised training needs segments, weak training labels"
    return [*found, Doubt("no_segments", text)]


def notes(recordings: Iterable[Recording]) -> list[Note]:
    """Notes "labels only" (a label without a segment) and "background" (a training recording without a label)."""
    found = []
    for recording in recordings:
        if bare := recording.labels_without_segment():
            found.append(Note("labels only", recording.id, ", ".join(bare)))
        if not (recording.labels or recording.ignored) and recording.subset == dataset.SPLITS[0]:
            found.append(Note("background", recording.id, "no annotation"))
    return found


def near_equal(labels: Iterable[str]) -> list[Note]:
    """A note for every group of labels that people would take for one."""
    return [
        Note("near-equal labels", shown(group[0]), f"{' and '.join(map(_spelled, group))} are different classes")
        for group in words.near_equal(labels)
    ]


def _spelled(label: str) -> str:
    """A label so that it can be told from others that look like it."""
    plain = unicodedata.normalize("NFC", label) == label and label.isprintable()
    return repr(label) if plain else ascii(label)
