"""What the files of a stream turned out to be: types, layouts, what was assumed, and how 16 bits would round them."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tal_jax.errors import InputError
from tal_jax.prepare.feature_files import AXES, Opened
from tal_jax.prepare.feature_formats import File
from tal_jax.tables import rounding
from tal_jax.tables.rounding import Channels

FALLBACK = "float32"  # how a stream is stored that 16 bits would harm
MANY = 4  # of what was assumed in a stream's files, so much is listed


@dataclass(frozen=True)
class Tally:
    """The files of one stream."""

    channels: Channels
    types: Counter[str]  # "float64 .csv" -> number of files
    layouts: Counter[str]  # "TC" or "CT" -> number of files
    notes: Counter[str]  # what was assumed -> number of files

    @classmethod
    def of(cls, opened: Opened, id: str, file: File, dtype: str) -> "Tally":
        """Of one recording's file, where `dtype` is the storage type that was asked for."""
        kind = f"{opened.features.dtype.name} {os.path.splitext(file.path)[1]}"
        asked = tuple(dict.fromkeys((dtype, FALLBACK)))
        channels = rounding.measure(opened.features, asked, id)
        return cls(channels, Counter([kind]), Counter([opened.layout]), Counter(opened.notes))

    def merged(self, other: "Tally") -> "Tally":
        """Of the files of both."""
        return Tally(
            self.channels.merged(other.channels),
            self.types + other.types,
            self.layouts + other.layouts,
            self.notes + other.notes,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "channels": self.channels.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Tally":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        counters = (Counter(values[name]) for name in ("types", "layouts", "notes"))
        return cls(Channels.from_json(values["channels"]), *counters)


def merged(tallies: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    """One tally for each stream, from those of shards."""
    found: dict[str, Tally] = {}
    for one in tallies:
        for name, tally in one.items():
            found[name] = found[name].merged(tally) if name in found else tally
    return found


def harmed(tallies: Mapping[str, Tally], dtype: str) -> dict[str, str]:
    """The streams that a storage type would harm, and how, in words.

    Raises:
      InputError: float32 would harm one as well, or the headers of its files name other columns.
    """
    for name, tally in tallies.items():
        if reason := rounding.harm(tally.channels, FALLBACK):
            raise InputError(
                f"stream {name}: {reason}: change its unit, subtract what is constant, or remove the channel"
            )
        headers = [note for note in tally.notes if note.startswith("header of")]
        if len(headers) > 1:
            raise InputError(
                f"stream {name}: files with a {headers[0]:.100}, and with a {headers[1]:.100}: give all one order"
            )
    found = {name: rounding.harm(tally.channels, dtype) for name, tally in tallies.items()}
    return {name: reason for name, reason in found.items() if reason}


def lines(tallies: Mapping[str, Tally], dtype: str, stored: Mapping[str, str]) -> list[str]:
    """What was understood of each stream, for people: its width, layout, types and rounding; what was assumed.

    Args:
      tallies: of all files, by stream.
      dtype: the storage type that was asked for.
      stored: the storage type of each stream.
    """
    if not tallies:
        return []
    table = [("stream", "channels", "layout", "in the files", "stored", "from", "to", "rounding")]
    below = []
    for name, tally in tallies.items():
        channels = tally.channels
        table.append(
            (
                name,
                str(len(channels.mean)),
                _most(tally.layouts, AXES),
                _most(tally.types),
                stored[name],
                f"{channels.low.min():.4g}",
                f"{channels.high.max():.4g}",
                f"{rounding.worst(channels, stored[name]):.1%}",
            )
        )
        if reason := stored[name] != dtype and rounding.harm(channels, dtype):
            below.append(f"{name}: stored as {stored[name]}: {reason}")
        constant = (channels.low == channels.high).sum()
        if constant:
            below.append(f"{name}: {constant:,} of {len(channels.mean):,} channels never change")
        files = sum(tally.types.values())
        common = tally.notes.most_common()
        below += [f"{name}: in {count:,} of {files:,} files: {note:.160}" for note, count in common[:MANY]]
        below += [f"{name}: and {len(common) - MANY:,} more assumptions"] * (len(common) > MANY)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [*(_aligned(row, widths) for row in table), *below]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    left = (0, 2, 3, 4)
    return "  ".join(
        cell.ljust(width) if i in left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()


def _most(counts: Counter[str], words: Mapping[str, str] | None = None) -> str:
    """The values that occur, the most frequent one first."""
    return ", ".join((words or {}).get(value, value) for value, _ in counts.most_common())
