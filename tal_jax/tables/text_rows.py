"""Rows of cells in text files, whatever their encoding and whatever stands between the cells."""

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tal_jax.errors import InputError
from tal_jax.tables.text_files import decoded

DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas", " ": "spaces"}
SAMPLE = 100  # rows that tell the delimiter


@dataclass(frozen=True)
class TextRows:
    """A text file whose dialect is known."""

    where: str  # what errors begin with
    lines: Sequence[str]
    before: int  # how many lines are left out above them
    delimiter: str  # "" where there is one column
    comment: tuple[str, ...] = ()  # the cells of the last comment above the rows
    notes: tuple[str, ...] = ()  # what was assumed

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """The number of each line that is not blank, and its cells without the space around them.

        Raises:
          InputError: quotes do not match.
        """
        stripped = (line.strip(" ") for line in self.lines)
        if not self.delimiter:
            yield from ((self.before + n, [line.strip('"')]) for n, line in enumerate(stripped, 1) if line)
            return
        reader = csv.reader(stripped, delimiter=self.delimiter, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield self.before + reader.line_num, [cell.strip() for cell in cells]
        except csv.Error as e:
            at = self.before + reader.line_num
            raise InputError(f"{self.where}: row {at}: {e}: correct it, or extract it again") from e


def open_rows(path: str | os.PathLike, where: str) -> TextRows:
    """Reads UTF-8, UTF-16 or UTF-32, and tells what stands between the cells: commas, semicolons, tabs or spaces.

    Args:
      path: the file to read.
      where: what errors begin with: the file, and the record.

    Raises:
      InputError: no text, or none but comments.
      OSError: the file cannot be read.
    """
    text, encoding = decoded(Path(path).read_bytes(), where)
    notes = [] if encoding.startswith("utf-8") else [encoding.upper()]
    lines = io.StringIO(text, newline=None).read().split("\n")
    before, comment = 0, ""
    while before < len(lines):
        line = lines[before].strip()
        if line.startswith("#"):
            comment = line.lstrip("#").strip()
        elif line and not (before == 0 and line.lower().startswith("sep=")):  # which is a word to Excel
            break
        before += 1
    lines = lines[before:]
    delimiter = _delimiter(lines, where)
    if delimiter not in (",", ""):
        notes.append(f"{DELIMITERS[delimiter]} between cells")
    if not comment:
        return TextRows(where, lines, before, delimiter, (), tuple(notes))
    notes.append("comments above the rows left out")
    cells = next(iter(TextRows(where, [comment], 0, delimiter)))[1]
    return TextRows(where, lines, before, delimiter, tuple(cells), tuple(notes))


def _delimiter(lines: Sequence[str], where: str) -> str:
    """What parts the cells, by the rows after the first, which may be a header; "" where nothing does."""
    plain = [re.sub(r'"[^"]*"', '""', line.strip(" ")) for line in lines if line.strip()][:SAMPLE]
    if not plain:
        raise InputError(f"{where}: empty, no row of numbers: extract it again or leave the recording out")
    rows = plain[1:] or plain
    for delimiter in DELIMITERS:
        if all(delimiter in row for row in rows):
            return delimiter
    # A damaged row has none, or the header alone has some: rows of another length are refused by those who read on.
    counts = {d: sum(d in row for row in (rows if d == " " else plain)) for d in DELIMITERS}
    return max(counts, key=lambda delimiter: counts[delimiter]) if any(counts.values()) else ""
