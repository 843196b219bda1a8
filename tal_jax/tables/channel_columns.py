"""Features in CSV files: which columns are channels, and which only number or date the rows."""

import re
from collections.abc import Sequence

import numpy as np

from tal_jax.errors import InputError
from tal_jax.tables import number_tables

CLOCK = re.compile("time|timestamps?|ts|t|date|datetime|epoch|unixtime|elapsed|uptime|sec(ond)?s?|millis|nanos")
# What stands beside such a word.
BESIDE = re.compile(
    "unix|utc|gps|iso|local|system|sensor|sample|event|device|start|record|recording|relative|since|in|of|day|fine|"
    "stamp|s|ms|us|ns|(milli|micro|nano)seconds"
)
ROWS = re.compile(
    "index|idx|id|rows?|rownum|(frame|sample|snippet|row)(id|no|idx|index|number)?|(packet)?counter|unnamed0"
)
ANNOTATION = re.compile("(label|class|target|activity|action|annotation)s?(id|name)?|groundtruth")
FEW = 10  # so many rows of a column without a name may rise by chance
DATED = 1e8  # seconds: no sensor counts so far, every clock does


def read(path: str, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Reads a CSV file of features; columns that number the rows or hold times are left out, and said.

    Returns:
      The array [R, C] float64, and notes on what was assumed, the first of them on the header.

    Raises:
      InputError: no table of numbers, see `number_tables.read`; a column that may be an index, a time or an annotation,
        but does not look like one; or no channel at all.
      OSError: the file cannot be read.
    """
    table = number_tables.read(path, where, lambda names: [i for i, name in enumerate(names) if _is_clock(name)])
    dropped = _unnamed(table.values, where) if table.names is None else _named(table.names, table.values, where)
    kept = [i for i in range(table.values.shape[1]) if i not in dropped]
    if not kept:
        raise InputError(f"{where}: no channel beside {', '.join(dropped.values())}: extract it again")
    notes = [_header([table.names[i] for i in kept])] if table.names is not None else []
    return table.values[:, kept] if dropped else table.values, (*notes, *table.notes, *dropped.values())


def _header(names: Sequence[str]) -> str:
    if list(names) == [str(i) for i in range(len(names))]:
        return f"header 0..{len(names) - 1}"
    return f"header of {len(names)} names: {', '.join(names)}"


def _named(names: Sequence[str], values: np.ndarray, where: str) -> dict[int, str]:
    """Position -> note of the columns that are no channels, by their names."""
    dropped = {}
    for i, name in enumerate(names):
        x, column = values[:, i], f"column {i + 1} ({name or 'no name':.40})"
        plain = re.sub(r"[\W_]+", "", name).lower()
        if ANNOTATION.fullmatch(plain):
            raise InputError(f"{where}: {column} looks like an annotation, not a feature: remove it, or rename it")
        if (i == 0 and not name) or ROWS.fullmatch(plain):
            if not _counts(x):
                raise InputError(f"{where}: {column} should number the rows, and does not: remove it, or rename it")
            dropped[i] = f"{column} left out, it numbers the rows"
        elif _is_clock(name):
            rises = np.isnan(x).all() or (np.diff(x) >= 0).all()
            if rises:
                dropped[i] = f"{column} left out, it is a time{_steps(x)}"
            elif plain != "t":  # which may be a temperature
                raise InputError(
                    f"{where}: {column} should be a time, and falls: sort the rows, or remove or rename it"
                )
    return dropped


def _unnamed(values: np.ndarray, where: str) -> dict[int, str]:
    """As `_named` where there are no names: only a first column that stands out is taken for anything but a channel."""
    count, width = values.shape
    if count < 3 or width < 2 or not np.isfinite(values).all():
        return {}
    rising = np.all(np.diff(values, axis=0) > 0, axis=0)
    if not rising[0] or rising[1:].any():
        return {}
    x = values[:, 0]
    if x[0] in (0, 1) and _counts(x):
        return {0: "column 1 left out, it numbers the rows"}
    steps = np.diff(x)
    if count >= FEW and (steps.max() - steps.min() <= 1e-3 * steps.mean() or x[0] >= DATED):
        raise InputError(
            f"{where}: column 1 rises from {x[0]:.10g} to {x[-1]:.10g} like a time: remove it, or write names "
            "into the first row"
        )
    return {}


def _counts(x: np.ndarray) -> bool:
    """Whether a column rises by one and the same whole number from row to row."""
    steps = np.diff(x)
    return bool((x == np.round(x)).all() and (steps > 0).all() and (steps == steps[:1]).all())


def _steps(x: np.ndarray) -> str:
    """How far a time goes from row to row, which may be another stride than the user says; "" where it cannot be told.

    To one digit: it is said once of all files whose clocks differ by little.
    """
    step = float(np.median(np.diff(x))) if len(x) > 1 else 0.0
    return f", in steps of about {float(f'{step:.1g}'):g}" if step > 0 else ""


def _is_clock(name: str) -> bool:
    """Whether a name says time: "timestamp", "Time (s)", "sensorTimestamp", "SampleTimeFine", "seconds_elapsed"."""
    bare = re.sub(r"[(\[{].*?[)\]}]", " ", name)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", bare).lower()
    parts = [word for word in re.split(r"[^a-z]+", words) if word]
    return any(map(CLOCK.fullmatch, parts)) and all(CLOCK.fullmatch(w) or BESIDE.fullmatch(w) for w in parts)
