"""Changes to the files of a folder that a program wrote: damaged, removed, exchanged, or no files at all."""

import json
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.mutation import mutated_bytes, mutated_tree


def linked(source: Path, target: Path) -> Path:
    """A copy whose files are those of the source: `damage` puts others in their places."""
    shutil.copytree(source, target, copy_function=os.link)
    return target


def damage(path: Path, rng: random.Random, others: Sequence[Path] = ()) -> bool:
    """Changes a file, or puts something else in its place.

    Args:
      path: the file.
      rng: chooses how.
      others: files that it may be exchanged with.

    Returns:
      Whether it holds something else now that a person could have meant: JSON with other values.
    """
    data = path.read_bytes()
    path.unlink()
    kind = rng.choice(("bytes", "bytes", "bytes", "tree", "tree", "tree", "removed", "exchanged", "odd", "node"))
    if kind == "tree" and path.suffix in (".json", ".jsonl"):
        changed = b"\n".join(_tree(line, rng) for line in (data.splitlines() if path.suffix == ".jsonl" else [data]))
    elif kind == "exchanged" and others:
        changed = rng.choice(others).read_bytes()
    elif kind == "odd":
        changed = rng.choice(
            (b"", b"\0" * len(data), data * 2, data + b"\n", b"[" * 10_000, b"{}", b"[]", b"null", b"3")
        )
    elif kind == "removed":
        return False
    elif kind == "node":
        _node(path, rng)
        return False
    else:
        changed = mutated_bytes(data, rng)
    path.write_bytes(changed)
    return path.suffix in (".json", ".jsonl") and _meant(data, changed)


def _tree(data: bytes, rng: random.Random) -> bytes:
    return json.dumps(mutated_tree(json.loads(data), rng), indent=1 if b"\n" in data else None).encode()


def _node(path: Path, rng: random.Random) -> None:
    kind = rng.randrange(5)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        path.symlink_to(path.name)
    elif kind == 2:
        path.symlink_to("/no/such/file")
    elif kind == 3:
        os.mkfifo(path)
    else:
        path.symlink_to(rng.choice(("/dev/null", "/dev/zero", "/proc/self/environ")))


def _meant(before: bytes, after: bytes) -> bool:
    try:
        return bool(_values(before) != _values(after))
    except (ValueError, RecursionError):
        return False


def _values(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return [json.loads(line) for line in data.splitlines()]
