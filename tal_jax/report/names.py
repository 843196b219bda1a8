"""Names of what a page compares."""

import os
from collections.abc import Sequence
from pathlib import Path

from tal_jax.errors import InputError
from tal_jax.words import fault


def named(given: Sequence[str], flag: str) -> dict[str, str]:
    """Paths by their names: of NAME=PATH the name, else as much of the path's end as tells one from the others.

    Args:
      given: arguments PATH or NAME=PATH, as the user wrote them.
      flag: the flag they were given with, for errors.

    Raises:
      InputError: two have one name, or a name is empty or not printable.
    """
    pairs = []
    for text in given:
        name, _, path = text.partition("=")
        pairs.append((name, path) if path and not os.path.exists(text) else ("", text))
    bare = [path for name, path in pairs if not name]
    short = dict(zip(bare, _told_apart(bare), strict=True))
    found: dict[str, str] = {}
    for name, path in pairs:
        name = name or short[path]
        if name in found or fault(name):
            raise InputError(f"{flag}: {name!r:.60} cannot name {path}: give each a name of its own, {flag}=NAME=PATH")
        found[name] = path
    return found


def _told_apart(paths: Sequence[str]) -> list[str]:
    parts = [Path(os.path.abspath(path)).with_suffix("").parts for path in paths]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(p[-count:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [p[-1] for p in parts]
