"""Tables of numbers in text files: what is a header and what a decimal comma is told from the cells, or refused."""

import array
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from tal_jax.errors import InputError
from tal_jax.tables.text_rows import TextRows, open_rows

MISSING = ("na", "n/a", "null", "none", "missing", "nil")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.ASCII | re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
NOT_A_NAME = re.compile(r"[+-]?[.,]?\d")  # how a mistyped number begins


@dataclass(frozen=True)
class NumberTable:
    """A table as it was read."""

    names: tuple[str, ...] | None  # of the C columns; None: the file has no header
    values: np.ndarray  # [R, C] float64; NaN in columns of text
    notes: tuple[str, ...]  # what was assumed


@dataclass(frozen=True)
class _Layout:
    """A table whose header is told from its rows."""

    text: TextRows
    width: int  # C
    trailing: bool  # rows end with a delimiter
    names: tuple[str, ...] | None
    header: bool = False  # the first row is one

    def body(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the header, all of one width, each with the number of its line."""
        for line, cells in islice(self.text, int(self.header), None):
            if self.trailing and len(cells) == self.width + 1 and not cells[-1]:
                cells.pop()
            if len(cells) != self.width:
                raise InputError(
                    f"{self.text.where}: row {line} has {len(cells)} cells, others {self.width}: correct it, or "
                    "extract it again"
                )
            yield line, cells

    def wrong(self, line: int, column: int, cell: str, fault: str = "is not a number") -> InputError:
        """The error for a cell, which it names by its row and column, from 1."""
        name = f" ({self.names[column]:.40})" if self.names and self.names[column] else ""
        found = f"{cell!r:.40} {fault}" if cell else "an empty cell"
        where = f"{self.text.where}: row {line}, column {column + 1}{name}"
        return InputError(f"{where}: {found}: correct it, or extract it again")


class _DecimalComma(Exception):
    """A cell is no number with a decimal point, but would be one with a decimal comma."""


def read(
    path: str | os.PathLike,
    where: str,
    texts: Callable[[Sequence[str]], Collection[int]] = lambda names: (),
    *,
    may_be_empty: bool = False,
) -> NumberTable:
    """Reads a table of numbers, whose dialect may be any that `text_rows.open_rows` tells.

    The first row is a header where it holds names alone, or counts the columns from 0 as pandas does; its first name
    may be missing, as that of an index is. Decimal commas are read where commas do not part the cells.

    Args:
      path: the file to read.
      where: what errors begin with: the file, and the record.
      texts: gives, from the names in the header, the positions of the columns that need not hold numbers.
      may_be_empty: whether a header alone is a table.

    Raises:
      InputError: a cell is no number, rows differ in length, or it is not clear what the first row or a comma means;
        names the row and the column.
      OSError: the file cannot be read.
    """
    layout = _layout(open_rows(path, where), may_be_empty)
    skip = frozenset(texts(layout.names)) if layout.names is not None else frozenset()
    notes = [*layout.text.notes, *["a delimiter after the last cell of every row"] * layout.trailing]
    try:
        values = _values(layout, skip, ".")
    except _DecimalComma:
        values = _values(layout, skip, ",")
        notes.append("decimal commas")
    return NumberTable(layout.names, values, tuple(notes))


def _layout(text: TextRows, may_be_empty: bool) -> _Layout:
    """Tells whether the first row is a header, and how many columns there are."""
    (line, first), *rest = islice(text, 2)
    like = rest[0][1] if rest else first
    trailing = len(like) > 1 and not like[-1] and (not first[-1] or len(first) == len(like) - 1)
    width = len(like) - trailing
    if trailing and len(first) == width + 1:
        first = first[:-1]
    if len(text.comment) == width > 1 and any(_like_number(cell) for cell in text.comment[1:]):
        raise InputError(
            f"{text.where}: row {text.before} begins with #, as comments do, and goes on with numbers "
            f"({' '.join(text.comment):.40}): correct it, or extract it again"
        )
    commented = len(text.comment) == width and all(map(_is_name, text.comment))
    plain = _Layout(text, width, trailing, text.comment if commented else None)
    numeric = [_like_number(cell) for cell in first]
    numbers = [cell for cell, known in zip(first, numeric, strict=True) if known]
    counting = numbers == [str(i) for i in range(len(numbers))]
    if all(numeric):
        if counting and len(first) == width:
            return _counting(replace(plain, names=tuple(first), header=True), line)
        if width > 2 and first == [str(i + 1) for i in range(width)] and not all(map(WHOLE.fullmatch, _cells(plain))):
            raise InputError(
                f"{text.where}: row {line} counts from 1 to {width}, is it a header? Remove it, or write names instead"
            )
        return plain
    unnamed = [j == 0 and not cell and len(first) > 1 for j, cell in enumerate(first)]
    odd = [not (number or _is_name(cell) or un) for number, cell, un in zip(numeric, first, unnamed, strict=True)]
    if any(odd) or not counting:
        column = odd.index(True) if any(odd) else numeric.index(False)
        raise plain.wrong(line, column, first[column])
    # R leaves out the name of its row names.
    names = ("", *first) if len(first) == width - 1 and first[0] else tuple(first)
    if len(names) != width or not (rest or may_be_empty):
        state = f"{len(names)} names for {width} columns" if rest else "empty, a header and no numbers"
        raise InputError(f"{text.where}: {state}: extract it again or leave the recording out")
    return replace(plain, names=names, header=True)


def _counting(layout: _Layout, line: int) -> _Layout:
    """A header that counts 0..C-1, which one or two numbers do by chance."""
    body = list(islice(layout.body(), 1))
    if not body or (layout.width <= 2 and any(map(WHOLE.fullmatch, _cells(layout)))):
        raise InputError(
            f"{layout.text.where}: row {line} is {','.join(layout.names or ()):.40}: a header that counts the columns, "
            "or numbers? Write names into the first row, or whole numbers as 0.0"
        )
    return layout


def _cells(layout: _Layout) -> Iterator[str]:
    below = islice(layout.body(), int(not layout.header), None)
    return (cell for _, cells in below for cell in cells)


def _like_number(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell) or DECIMAL_COMMA.fullmatch(cell))


def _is_name(cell: str) -> bool:
    return not NOT_A_NAME.match(cell) and any(map(str.isalpha, cell)) and cell.lower() not in MISSING


def _values(layout: _Layout, skip: Collection[int], decimal: str) -> np.ndarray:
    values, count, certain = array.array("d"), 0, decimal == "."
    # Python takes 1_0 for ten, and digits of other scripts.
    plain = decimal == "." and not skip and all(x.isascii() and "_" not in x for x in layout.text.lines[1:])
    for line, cells in layout.body():
        count += 1
        if plain:
            try:
                values.extend([float(cell) for cell in cells])
                continue
            except ValueError:
                pass
        for column, cell in enumerate(cells):
            value = _number(cell, decimal)
            if value is None and column not in skip:
                if decimal == "." and DECIMAL_COMMA.fullmatch(cell):
                    raise _DecimalComma
                point = decimal == "," and NUMBER.fullmatch(cell)
                fault = "has a decimal point, and others a comma" if point else "is not a number"
                raise layout.wrong(line, column, cell, fault)
            certain = certain or ("," in cell and column not in skip and not THOUSANDS.fullmatch(cell))
            values.append(np.nan if value is None else value)
    if not certain:
        raise InputError(
            f"{layout.text.where}: numbers as 1,234: thousands, or decimal commas? Write decimal points, and nothing "
            "between thousands"
        )
    return np.frombuffer(values, np.float64).reshape(count, layout.width)


def _number(cell: str, decimal: str) -> float | None:
    if decimal == "." or "." not in cell:
        if NUMBER.fullmatch(cell):
            return float(cell)
        if decimal == "," and DECIMAL_COMMA.fullmatch(cell):
            return float(cell.replace(",", "."))
    return None
