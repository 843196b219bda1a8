"""Classes that are neither learned nor averaged, such as THUMOS' "Ambiguous"."""

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from tal_jax.data.annotations import Note, Recording
from tal_jax.errors import InputError
from tal_jax.words import hint, quoted, shown

FLAG = "--ignore_labels"


def parse(values: Iterable[str]) -> tuple[str, ...]:
    """Labels of the flag, which may be repeated: separated by commas, in double quotes where one holds a comma."""
    rows = csv.reader(values, skipinitialspace=True)
    return tuple(dict.fromkeys(label for row in rows for label in row if label))


def uncounted(labels: Iterable[str]) -> list[str]:
    """Those of the labels that THUMOS14's kit neither trains nor averages: here they count, unless the user says so."""
    return [label for label in labels if label.strip().casefold() == "ambiguous"]


def remarks(labels: Iterable[str]) -> list[Note]:
    """A note of the kind "uncounted" for each of these."""
    return [
        Note("uncounted", shown(label), f"a class as any other; {FLAG} leaves it out") for label in uncounted(labels)
    ]


def leave_out(
    recordings: Mapping[str, Recording], labels: Collection[str], where: str
) -> tuple[dict[str, Recording], list[Note]]:
    """Takes classes out of recordings; where their segments lie stays known, in `Recording.ignored`.

    An evaluation does not count a detection there against a detector: nobody knows what it should have found.

    Args:
      recordings: the recordings by id, as `annotations.read` returns them.
      labels: the classes to ignore.
      where: the annotation file, for messages.

    Returns:
      The recordings, and a note of the kind "ignored" on every class.

    Raises:
      InputError: no recording has such a class, or none has another one.
    """
    segments, places = Counter[str](), Counter[str]()
    for recording in recordings.values():
        segments.update(instance.label for instance in recording.instances)
        places.update(recording.labels)
    for label in labels:
        if label not in places:
            raise InputError(
                f"{where}: {FLAG}: no annotation has the label {quoted(label)}: {hint(label, sorted(places))}"
            )
    if labels and not places.keys() - set(labels):
        raise InputError(f"{where}: {FLAG}: every class of the annotations is to be ignored: name fewer")
    found = {id: _without(recording, labels) for id, recording in recordings.items()} if labels else dict(recordings)
    return found, [
        Note("ignored", shown(label), f"{segments[label]:,} segments in {places[label]:,} recordings")
        for label in sorted(set(labels))
    ]


def leave_out_known(recordings: Mapping[str, Recording], labels: Collection[str], where: str) -> dict[str, Recording]:
    """As `leave_out`, where it does not matter whether there is any such class: what a set ignores, say."""
    here = {label for recording in recordings.values() for label in recording.labels}
    return leave_out(recordings, here & set(labels), where)[0]


def _without(recording: Recording, labels: Collection[str]) -> Recording:
    return replace(
        recording,
        instances=tuple(i for i in recording.instances if i.label not in labels),
        labels=tuple(label for label in recording.labels if label not in labels),
        ignored=(*recording.ignored, *(i for i in recording.instances if i.label in labels)),
    )
