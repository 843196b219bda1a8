"""What launch.prepare understood and kept, and what it left out or changed and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tal_jax.data import dataset
from tal_jax.data.annotations import Note
from tal_jax.words import shown

# What the printed summary shows at most, in the order in which it is shortened: (names of a kind, classes). The JSON
# has all.
SHOWN = ((5, 12), (3, 10), (2, 8), (1, 6), (0, 6))
LINES = 40  # of the printed summary, unless more kinds of notes than that have something to say
LABEL_WIDTH = 28

KINDS = {
    "accepted": "contradictions accepted",
    "near-equal labels": "labels that are nearly equal",
    "damaged": "recordings left out as damaged",
    "damaged unknown": "ids in --blocked that no recording has",
    "ignored": "classes ignored",
    "uncounted": "classes that THUMOS14's kit neither trains nor counts",
    "untrained": "classes without a training example",
    "missing features": "recordings left out without features",
    "missing video": "clips left out without their video",
    "negative clip": "clips left out that do not show their class",
    "damaged video": "clips of damaged videos",
    "clip subset": "clips left out, not of the training subset",
    "clip without label": "clips left out, no label",
    "missing proposals": "recordings without a proposal file",
    "streams cut": "recordings cut to their shortest stream",
    "labels only": "recordings with labels without segments",
    "weak only": "recordings without any segment of their labels: supervised training leaves them out",
    "background": "training recordings without annotations, all background",
    "unlike duration": "recordings whose snippets x stride is far from their duration",
    "usual length": "lengths that most recordings share",
    "degenerate": "segments left out, no positive length",
    "outside": "segments left out, wholly outside the recording",
    "short": "segments left out, not longer than --min_seconds",
    "negative start": "segments clipped, start before the recording",
    "overlong": "segments clipped, end after the recording",
    "layout assumed": "layouts assumed",
}


@dataclass(frozen=True)
class SplitSummary:
    """What one split holds."""

    recordings: int
    segments: int
    hours: float


@dataclass(frozen=True)
class ClassSummary:
    """What there is of one class."""

    recordings: int  # of all splits, that show it by a segment or a label
    segments: Mapping[str, int]  # by split
    median_seconds: float | None  # of all its segments; None: there are none


@dataclass(frozen=True)
class Summary:
    """What a set holds, and notes on everything that it does not hold as given."""

    splits: Mapping[str, SplitSummary]
    notes: Sequence[Note]
    classes: Mapping[str, ClassSummary] = field(default_factory=dict)
    facts: Sequence[str] = ()  # lines on what was understood: streams, strides

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values: splits, classes, facts, and for every kind of note all of its [id, text]."""
        return {
            "splits": {name: vars(split) for name, split in self.splits.items()},
            "classes": {label: vars(found) for label, found in self.classes.items()},
            "facts": list(self.facts),
            "notes": {kind: [[n.id, n.text] for n in notes] for kind, notes in self._by_kind().items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Summary":
        """The inverse of `to_json`; sets of before there were classes and facts have none."""
        return cls(
            {name: SplitSummary(**split) for name, split in values["splits"].items()},
            [Note(kind, id, text) for kind, notes in values["notes"].items() for id, text in notes],
            {label: ClassSummary(**found) for label, found in values.get("classes", {}).items()},
            values.get("facts", ()),
        )

    def table(self) -> str:
        """Returns the summary as text for people: splits, facts, classes, then every kind of note with a few names."""
        lines: list[str] = []
        for names, classes in SHOWN:
            lines = [*self._splits(), *self.facts, *self._classes(classes), *self._notes(names)]
            if len(lines) <= LINES:
                break
        return "\n".join(lines)

    def _splits(self) -> list[str]:
        lines = [f"{'split':<12} {'recordings':>10} {'segments':>10} {'hours':>9}"]
        for name, split in self.splits.items():
            lines.append(f"{name:<12} {split.recordings:>10,} {split.segments:>10,} {split.hours:>9.2f}")
        if "training" in self.splits and "validation" not in self.splits:
            lines.append("no validation split: training is measured where --config.data.holdout=0.2 holds some out")
        return lines

    def _classes(self, most: int) -> list[str]:
        """A row for each class, or for the largest ones, where there are too many."""
        if not self.classes:
            return ["no classes"]
        splits = [split for split in self.splits if split in dataset.SPLITS]
        ordered = list(self.classes.items())
        if len(ordered) > most + 1:
            ordered.sort(key=lambda item: -sum(item[1].segments.values()))
        else:
            most = len(ordered)
        heads = "".join(f" {split:>10}" for split in splits)
        lines = [f"{f'{len(ordered):,} classes, segments':<{LABEL_WIDTH}} {'recordings':>10}{heads} {'median s':>9}"]
        for label, found in ordered[:most]:
            name = shown(label)
            name = name if len(name) <= LABEL_WIDTH else f"{name[: LABEL_WIDTH - 2]}.."
            counts = "".join(f" {found.segments.get(split, 0):>10,}" for split in splits)
            median = "-" if found.median_seconds is None else f"{found.median_seconds:.2f}"
            lines.append(f"{name:<{LABEL_WIDTH}} {found.recordings:>10,}{counts} {median:>9}")
        if rest := [found for _, found in ordered[most:]]:
            sizes = [sum(found.segments.values()) for found in rest]
            medians = [found.median_seconds for found in rest if found.median_seconds is not None]
            lengths = f", medians {min(medians):.2f} to {max(medians):.2f} s" if medians else ""
            lines.append(f"and {len(rest):,} more: {min(sizes):,} to {max(sizes):,} segments each{lengths}")
        return lines

    def _notes(self, most: int) -> list[str]:
        lines = []
        for kind, notes in self._by_kind().items():
            if not most:
                lines.append(f"{len(notes):,} {KINDS[kind]}: {notes[0].id}{', ..' if len(notes) > 1 else ''}")
                continue
            lines.append(f"{len(notes):,} {KINDS[kind]}:")
            lines += [f"  {note.id}: {note.text}" for note in notes[:most]]
            if len(notes) > most:
                lines.append(f"  and {len(notes) - most:,} more")
        return lines

    def _by_kind(self) -> dict[str, list[Note]]:
        groups = {name: [note for note in self.notes if name == note.kind] for name in KINDS}
        return {kind: notes for kind, notes in groups.items() if notes}
