"""JSON files: read with a clear word where they are damaged or name a key twice, written whole or not at all."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from tal_jax.data import atomic
from tal_jax.errors import InputError


def read_json(path: str | os.PathLike, check: str = "the path") -> Any:
    """Reads a JSON file in which no object has a key twice: of two entries of a recording, which one is meant?

    Args:
      path: the file to read.
      check: what to look at where the file cannot be read, such as the flag that named it.

    Raises:
      InputError: the file cannot be read, is not valid JSON, or names a key twice in one object.
    """
    try:
        return parse_json(path, Path(path).read_bytes())
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): check {check}") from e


def parse_json(path: str | os.PathLike, content: str | bytes) -> Any:
    """As `read_json`, of a file that was read already; `path` is named in errors."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            raise InputError(f"{path}: {twice!r} appears twice in one object: keep one of them")
        return result

    try:
        return json.loads(content, object_pairs_hook=unique)
    except InputError:
        raise
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: not valid JSON ({e!s:.120}): repair it, or write or download it again") from e


def write_json(path: str | os.PathLike, content: Any, indent: int | None = None) -> None:
    """Writes JSON, all of it or nothing.

    Raises:
      InputError: the path is a folder, or lies in one that does not exist or cannot be written.
      ValueError: the content has a number that is not finite.
    """
    text = json.dumps(content, indent=indent, allow_nan=False)
    try:
        atomic.write(path, (text + "\n").encode())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as e:
        raise InputError(f"{path}: cannot be written ({e.strerror}): name a file in a folder that exists") from e
