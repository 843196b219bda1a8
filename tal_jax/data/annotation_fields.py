"""Numbers and times in the records of an annotation file, in the spellings that people use."""

import math
import re
from collections.abc import Mapping
from typing import Any

# A field that is about time, by one of the words in its name: {"label": .., "t_start": 3, "endTime": 5}.
WORDS = re.compile(r"[A-Z]*[a-z]+\d?|[A-Z]+\d?")
TIME_WORDS = re.compile(
    r"t?(?:start|begin|end|stop|onset|offset)(?:s|ed)?(?:time|frame|sec|secs|seconds?|ms)?"
    r"|segments?|intervals?|times?|timestamps?|span|frames?|from|to|t[01]|[tx](?:min|max)",
    re.IGNORECASE,
)


# Python takes 1_0 for ten, and digits of every script.
PLAIN = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)


def number(what: str, value: Any) -> float:
    """A finite number, also as text. Raises ValueError, whose text names `what`, for anything else."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        if isinstance(value, str) and not PLAIN.fullmatch(value):
            raise ValueError
        found = float(value)
        if not math.isfinite(found):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"{what} {value!r:.60} is not a finite number of seconds") from None
    return found


def positive(value: Any) -> float | None:
    """A positive number, also as text or a ratio such as "30000/1001"; None for anything else: who needs it says so."""
    above, _, below = value.partition("/") if isinstance(value, str) else (value, "", "")
    try:
        found = number("", above) / number("", below or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return found if found > 0 and math.isfinite(found) else None


def segment_of(annotation: Mapping[str, Any]) -> tuple[float, float] | None:
    """The (start, end) of an annotation as written, in seconds; None where it is a label alone.

    Raises:
      ValueError: it has times that cannot be used; the text says what is wrong with them.
    """
    if "segment" not in annotation:
        if names := fields_of_time(annotation):
            raise ValueError(f"{annotation!r:.80} has its times in {', '.join(map(repr, names)):.60}")
        return None
    segment = annotation["segment"]  # null is not absence: more likely a segment that was lost
    if not isinstance(segment, list) or len(segment) != 2:
        raise ValueError(f"segment {segment!r:.60} is not [start, end]")
    return number("start", segment[0]), number("end", segment[1])


def fields_of_time(annotation: Mapping[str, Any]) -> list[str]:
    """The names of an annotation's fields that are about time, also of those that are empty or null."""
    return [
        name
        for name, value in annotation.items()
        if any(TIME_WORDS.fullmatch(word) for word in WORDS.findall(name))
        and not (isinstance(value, str) and value and not any(map(str.isdigit, value)))  # "time": "morning"
        and not isinstance(value, bool)
    ]
