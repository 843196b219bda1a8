"""Numbers as a table of text."""

from collections.abc import Sequence


def threshold_name(tiou: float) -> str:
    """The threshold with two digits, or with as many as it needs: 0.5 -> "0.50"."""
    short = f"{tiou:.2f}"
    return short if float(short) == tiou else f"{tiou:.9g}"


def text_table(head: Sequence[str], rows: Sequence[Sequence], last: Sequence) -> str:
    """Rows of a name and numbers with one digit, right-aligned, and a last one beneath a rule.

    Args:
      head: [N] titles of the columns.
      rows: [N] a name and N - 1 numbers each.
      last: such a row.
    """
    cells = [[str(row[0]), *(f"{value:.1f}" for value in row[1:])] for row in (*rows, last)]
    widths = [max(len(line[i]) for line in (head, *cells)) for i in range(len(head))]

    def text(line: Sequence[str]) -> str:
        numbers = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        return "  ".join([line[0].ljust(widths[0]), *numbers])

    rule = "-" * len(text(head))
    return "\n".join([text(head), rule, *map(text, cells[:-1]), rule, text(cells[-1])])
