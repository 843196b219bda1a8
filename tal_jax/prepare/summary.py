"""What launch.prepare kept, and what it left out or changed and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tal_jax.data.annotations import Note

EXAMPLES = 5  # names per kind in the printed summary; the JSON has all

KINDS = {
    "damaged": "recordings left out as damaged",
    "damaged unknown": "ids in --damaged that no recording has",
    "ignored": "classes ignored",
    "untrained": "classes without a training example",
    "missing features": "recordings left out without features",
    "clip subset": "clips left out, not of the training subset",
    "clip without label": "clips left out, no label",
    "missing proposals": "recordings without a proposal file",
    "streams cut": "recordings cut to their shortest stream",
    "labels only": "recordings with labels without segments",
    "unlike duration": "recordings whose snippets x stride is far from their duration",
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
class Summary:
    """What a set holds, and notes on everything that it does not hold as given."""

    splits: Mapping[str, SplitSummary]
    notes: Sequence[Note]

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values: splits, and for every kind of note all of its [id, text]."""
        return {
            "splits": {name: vars(split) for name, split in self.splits.items()},
            "notes": {kind: [[n.id, n.text] for n in notes] for kind, notes in self._by_kind().items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Summary":
        """The inverse of `to_json`."""
        return cls(
            {name: SplitSummary(**split) for name, split in values["splits"].items()},
            [Note(kind, id, text) for kind, notes in values["notes"].items() for id, text in notes],
        )

    def table(self) -> str:
        """Returns the summary as text for people: a row per split, then every kind of note with a few names."""
        lines = [f"{'split':<12} {'recordings':>10} {'segments':>10} {'hours':>9}"]
        for name, split in self.splits.items():
            lines.append(f"{name:<12} {split.recordings:>10,} {split.segments:>10,} {split.hours:>9.2f}")
        for kind, notes in self._by_kind().items():
            lines.append(f"{len(notes):,} {KINDS[kind]}:")
            lines += [f"  {note.id}: {note.text}" for note in notes[:EXAMPLES]]
            if len(notes) > EXAMPLES:
                lines.append(f"  and {len(notes) - EXAMPLES:,} more")
        return "\n".join(lines)

    def _by_kind(self) -> dict[str, list[Note]]:
        groups = {name: [note for note in self.notes if name == note.kind] for name in KINDS}
        return {kind: notes for kind, notes in groups.items() if notes}
