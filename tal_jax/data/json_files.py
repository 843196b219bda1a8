"""JSON files: read with a clear word where they are damaged or name a key twice, written whole or not at all."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tal_jax.data import atomic
from tal_jax.errors import InputError

MAX_BYTES = 2 << 30  # of a file; a million detections have 0.1 of it
DEPTH = 50  # of brackets in each other; a config has eight


def read_json(path: str | os.PathLike, check: str = "the path") -> Any:
    """Reads a JSON file in which no object has a key twice: of two entries of a recording, which one is meant?

    Args:
      path: the file to read.
      check: what to look at where the file cannot be read, such as the flag that named it.

    Raises:
      InputError: the file cannot be read, is larger than MAX_BYTES, is not valid JSON, names a key twice in one object,
        or has brackets in each other beyond DEPTH.
    """
    content = bytearray()
    try:
        with open(path, "rb") as file:
            while part := file.read(1 << 24):  # it may be a pipe, or a device without an end
                content += part
                if len(content) > MAX_BYTES:
                    raise InputError(f"{path}: more than {MAX_BYTES} bytes: check {check}")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): check {check}") from e
    return parse_json(path, content)


def parse_json(path: str | os.PathLike, content: str | bytes | bytearray) -> Any:
    """As `read_json`, of a file that was read already; `path` is named in errors."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            raise InputError(f"{path}: {twice!r:.80} appears twice in one object: keep one of them")
        return result

    try:
        value = json.loads(content, object_pairs_hook=unique)
    except InputError:
        raise
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: not valid JSON ({e!s:.120}): repair it, or write or download it again") from e
    # What reads the value, or prints it in a message, may go down with it.
    level = [value]
    for _ in range(DEPTH + 1):
        level = [x for node in level for x in _inside(node) if isinstance(x, dict | list)]
        if not level:
            return value
    raise InputError(f"{path}: more than {DEPTH} brackets in each other: check which file it is")


def _inside(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


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
