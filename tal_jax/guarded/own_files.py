"""The one guarded reader of small files that this project wrote: in a set, a workdir, an exported model.

Disks, people and other programs change such files. What is read here is a regular file of a bounded size, UTF-8, JSON
that is not nested without end, and of the types that were asked for; anything else is an `InputError` in plain words.
"""

import io
import json
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tal_jax.errors import InputError
from tal_jax.words import fault

LARGEST = 256 << 20  # bytes of a file; the largest that are written are indexes of millions of recordings
DEEPEST = 32  # levels of JSON; configs have six
KINDS: Mapping[type, str] = {str: "text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


def read_bytes(path: str | os.PathLike, remedy: str, largest: int = LARGEST) -> bytes:
    """The content of a file.

    Args:
      path: the file.
      remedy: what to do where it cannot be used, for messages.
      largest: bytes that it may have at most.

    Raises:
      InputError: it is missing, no regular file, too large, or cannot be read.
    """
    try:
        # Without O_NONBLOCK, a named pipe would wait for ever for somebody who writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or pipe"
                raise InputError(f"{path}: {kind}, not a file: {remedy}")
            if status.st_size > largest:
                raise InputError(f"{path}: {status.st_size} bytes, at most {largest} are expected: {remedy}")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(status.st_size)
        finally:
            os.close(descriptor)
    except FileNotFoundError as e:
        raise InputError(f"{path}: missing: {remedy}") from e
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): {remedy}") from e


def as_text(path: str | os.PathLike, content: bytes, remedy: str) -> str:
    """The content of a file as text. Raises InputError where it is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: damaged, byte {e.start} is not UTF-8 text: {remedy}") from e


def read_object(path: str | os.PathLike, remedy: str) -> dict[str, Any]:
    """Reads a JSON object. Arguments and errors: see `read_bytes` and `as_object`."""
    return as_object(path, read_bytes(path, remedy), remedy)


def as_object(path: str | os.PathLike, content: bytes, remedy: str) -> dict[str, Any]:
    """The JSON object that a file holds.

    Args:
      path: the file, for messages.
      content: its bytes.
      remedy: what to do where it cannot be used, for messages.

    Raises:
      InputError: it is not UTF-8, not JSON, nested more than DEEPEST levels, names a key twice, or is no object.
    """
    values = as_json(path, content, remedy)
    if not isinstance(values, dict):
        raise InputError(f"{path}: damaged, it holds {_named(values)} where an object is expected: {remedy}")
    return values


def as_json(path: str | os.PathLike, content: bytes, remedy: str) -> Any:
    """The JSON value that a file holds; see `as_object`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            raise InputError(f"{path}: damaged, {twice!r:.60} appears twice in one object: {remedy}")
        return found

    text = as_text(path, content, remedy)
    try:
        values = json.loads(text, object_pairs_hook=unique)
    except InputError:
        raise
    except RecursionError as e:
        raise InputError(f"{path}: damaged, nested without end: {remedy}") from e
    except ValueError as e:
        reason = "empty" if not text.strip() else f"not JSON ({e!s:.80})"
        raise InputError(f"{path}: damaged, {reason}: {remedy}") from e
    level: list[Any] = [values]
    for _ in range(DEEPEST):
        level = [x for v in level if isinstance(v, dict | list) for x in (v.values() if isinstance(v, dict) else v)]
        if not level:
            return values
    raise InputError(f"{path}: damaged, nested more than {DEEPEST} levels deep: {remedy}")


def member(path: str | os.PathLike, values: Mapping[str, Any], key: str, kind: type, remedy: str) -> Any:
    """A value of an object that was read.

    Args:
      path: the file, for messages.
      values: the object.
      key: the key of the value.
      kind: what it is to be: str, int, float (which whole numbers are as well), list or dict.
      remedy: what to do where it is not so, for messages.

    Raises:
      InputError: the key is missing, or the value is of another type, or a number that is not finite.
    """
    if key not in values:
        raise InputError(f"{path}: damaged, it lacks {key!r}: {remedy}")
    value = values[key]
    fits = isinstance(value, int | float if kind is float else kind) and not (
        isinstance(value, bool) or (isinstance(value, float) and not np.isfinite(value))
    )
    if not fits:
        raise InputError(f"{path}: damaged, {key!r} is {_named(value)}, expected {KINDS[kind]}: {remedy}")
    return value


def read_arrays(path: str | os.PathLike, names: Sequence[str] | None, remedy: str) -> dict[str, np.ndarray]:
    """Reads arrays of an `.npz` file by their names; None reads all that it has.

    Raises:
      InputError: see `read_bytes`; or it is no such file, or lacks one of the arrays.
    """
    return as_arrays(path, read_bytes(path, remedy), names, remedy)


def as_arrays(
    path: str | os.PathLike, content: bytes, names: Sequence[str] | None, remedy: str
) -> dict[str, np.ndarray]:
    """Those arrays of the content of an `.npz` file; see `read_arrays`."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in (archive.files if names is None else names)}
    except Exception as e:  # zip and NumPy raise a dozen types for what is damaged
        text = " ".join(f"{e!s:.80}".split())
        what = "arrays" if names is None else ", ".join(names)
        raise InputError(f"{path}: damaged, not an archive of {what} ({text}): {remedy}") from e


def is_plain_name(name: Any) -> bool:
    """Whether something is text that people can read and that names one entry of a folder, and nothing outside it.

    Names of all scripts are, with spaces, accents and emoji; those with control characters, or with marks that turn the
    order of the text around them, are not: see `words.fault`.
    """
    return isinstance(name, str) and name not in (".", "..") and not set(name) & set("/\\") and not fault(name)


def _named(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    kind = KINDS.get(type(value), "something else")
    return f"{kind} ({value!r:.40})" if isinstance(value, str | int | float) else kind
