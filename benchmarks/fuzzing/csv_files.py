"""CSV files of features in the dialects of many programs: the values are known, and broken rows are refused."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.fuzzing import Case, Wrong
from tal_jax.errors import InputError
from tal_jax.prepare.feature_formats import File, load

KINDS = {"csv": 60, "csv broken": 40}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "latin-1", "gb18030")
ALWAYS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")  # those that are told by a mark, or need none
NAMES = ("acc_x", "Beschleunigung (m/s²)", "gyro y", "x", "mag[uT]", "a.b", "心拍", "PC1", "T °C", "e", "Ax_1")
DATES = "2024-05-01 12:00:{:02d}.5"
NOT_NUMBERS = (
    "",
    "1.O",
    "abc",
    "-",
    "1,5",
    "1.2.3",
    "NA",
    "null",
    "1 000.5",
    "0x1p3",
    "\u0661",
    "1_0",
    "#N/A",
    "--1",
    "1e",
)


@dataclass
class Dialect:
    """How a table is written."""

    delimiter: str
    comma: bool  # decimals have one
    encoding: str
    header: str  # "", "names", "counts" (pandas' columns without names), "comment"
    index: str  # "", "unnamed" (pandas' index), "r" (R's row names), "named", "time", "date"
    newline: str
    quoted: bool
    trailing: bool
    above: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, rng: random.Random) -> "Dialect":
        """A random one that programs write."""
        delimiter = rng.choice((",", ",", ",", ";", "\t", " ", ", "))
        header = rng.choice(("", "names", "names", "counts", "comment"))
        index = {
            "": ("",), "comment": ("",), "counts": ("", "unnamed"),
            "names": ("", "unnamed", "r", "named", "time", "date"),
        }[header]  # fmt: skip
        found = cls(
            delimiter=delimiter,
            comma=delimiter in ";\t" and rng.random() < 0.4,
            encoding=rng.choice(ALWAYS if rng.random() < 0.8 else ENCODINGS),
            header=header,
            index=rng.choice(index) if rng.random() < 0.7 else "",
            newline=rng.choice(("\n", "\n", "\r\n", "\r")),
            quoted=delimiter != ", " and rng.random() < 0.15,
            trailing=delimiter in ",;" and rng.random() < 0.1,
        )
        if delimiter in ",;\t" and rng.random() < 0.05:
            found.above.append(f"sep={delimiter}")
        if rng.random() < 0.1 and header != "comment":
            found.above.append(rng.choice(("# made by a sensor", "#", "# 50 Hz; 3 axes")))
        return found

    def number(self, x: float, rng: random.Random) -> str:
        """One as text that gives it back, in one of several spellings."""
        text = rng.choice((str, "{:.17g}".format, "{:+.17e}".format))(x)
        return text.replace(".", ",") if self.comma else text


def table(rng: random.Random) -> np.ndarray:
    """[R, C] numbers with decimals, none of which only rises: what rises by itself may be a time."""
    x = np.random.default_rng(rng.randrange(10**6)).normal(0, 3, (rng.randrange(3, 12), rng.randrange(2, 6)))
    x = np.round(x, rng.choice((3, 6, 16))) + 0.0
    x[1] = x[0] - 0.5
    return x


def rows_of(x: np.ndarray, dialect: Dialect, rng: random.Random) -> tuple[list[list[str]], int]:
    """The cells of all rows, the header among them, and the first column that is a channel."""
    names = [str(j) for j in range(x.shape[1])] if dialect.header == "counts" else rng.sample(NAMES, x.shape[1])
    body = [[dialect.number(value, rng) for value in row] for row in x]
    first = 1 if dialect.index else 0
    for i, row in enumerate(body):
        row[:0] = {
            "": [], "unnamed": [str(i)], "r": [str(i + 1)], "named": [str(i)],
            "time": [dialect.number(1.7e9 + i / 50, rng)], "date": [DATES.format(i)],
        }[dialect.index]  # fmt: skip
    title = {"unnamed": [""], "named": ["frame"], "time": ["timestamp"], "date": ["Date"]}.get(dialect.index, [])
    if dialect.header in ("names", "counts"):
        body.insert(0, [*title, *names])
    if dialect.header == "comment":
        body[0][0] = f"# {dialect.delimiter.join(names)}{dialect.newline}{body[0][0]}"
    return body, first


def text_of(rows: list[list[str]], dialect: Dialect, rng: random.Random) -> bytes:
    """The file."""
    needs = [dialect.delimiter.strip(), '"', *" " * (dialect.delimiter == " ")]

    def cell(text: str) -> str:
        wanted = dialect.quoted and not text.startswith("#")
        return f'"{text}"' if wanted or (any(x and x in text for x in needs) and "#" not in text) else text

    end = dialect.delimiter.strip() if dialect.trailing else ""
    lines = [*dialect.above, *(dialect.delimiter.join(map(cell, row)) + end for row in rows)]
    text = dialect.newline.join(lines) + rng.choice(("", dialect.newline, dialect.newline * 2))
    return text.encode(dialect.encoding, "replace")


def good_case(rng: random.Random, work: Path) -> None:
    """The channels are the numbers that were written; what nobody can tell may be refused."""
    x, dialect = table(rng), Dialect.of(rng)
    path = work / "r.csv"
    path.write_bytes(text_of(rows_of(x, dialect, rng)[0], dialect, rng))
    try:
        found = load("x", "r", File(str(path))).array
    except InputError as e:
        clear = dialect.encoding in ALWAYS and dialect.header in ("names", "") and not dialect.above
        if clear and not dialect.trailing and dialect.index in ("", "unnamed", "named", "time"):
            raise Wrong(f"{dialect} was refused: {e}") from e
        raise
    if not np.array_equal(found, x):
        raise Wrong(f"{dialect}: {found.shape} other numbers than {x.shape}: {path.read_bytes()!r:.300}")


def broken_case(rng: random.Random, work: Path) -> None:
    """A cell that is no number, is missing or is too many: refused, wherever it stands."""
    x, dialect = table(rng), Dialect.of(rng)
    rows, first = rows_of(x, dialect, rng)
    at = rng.randrange(1 if dialect.header in ("names", "counts") else 0, len(rows))
    column = rng.randrange(first, len(rows[at]))
    kind = rng.randrange(4)
    if kind == 0 and not dialect.trailing:
        del rows[at][column]
    elif kind == 1 and not dialect.trailing:
        rows[at].insert(column, rows[at][column].rpartition(dialect.newline)[2])
    else:
        odd = rng.choice(NOT_NUMBERS)
        if dialect.header == "comment" and (at, column) == (0, 0):
            odd = rows[at][column].rpartition(dialect.newline)[0] + dialect.newline + odd
        if (dialect.comma and odd == "1,5") or (dialect.delimiter == " " and not odd):
            odd = "x"
        rows[at][column] = odd
    path = work / "r.csv"
    path.write_bytes(text_of(rows, dialect, rng))
    found = load("x", "r", File(str(path))).array
    raise Wrong(f"{dialect}: read as {found.shape}: {path.read_bytes()!r:.300}")


def cases(folder: Path) -> dict[str, Case]:
    """Of good tables, and of broken ones."""
    return {"csv": good_case, "csv broken": broken_case}
