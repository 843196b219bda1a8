"""Text in CSV files: spreadsheets take what begins with a sign for a formula, and would run it."""

from typing import Any

FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"  # and their wide forms


def cell(value: Any) -> Any:
    """A value to be written: text that begins as a formula does has an apostrophe before it, numbers stay numbers."""
    if not isinstance(value, str) or value.lstrip()[:1] not in FORMULA or not value.strip():
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
