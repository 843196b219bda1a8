"""Where results are to be written: what the check lets pass can be written, and nothing of the inputs is harmed."""

import contextlib
import os
import random
import socket
from pathlib import Path

from benchmarks.fuzzing import Case, Wrong
from tal_jax.data import atomic
from tal_jax.data.outputs import Input, Output, check
from tal_jax.errors import InputError

KINDS = {"output file": 30, "output folder": 20}
NAMES = (
    "new", "new.json", "n" * 255, "n" * 256, "名" * 85, "名" * 86, "a b", "-x", "a\nb", "\x1b[2J", ".", "..", "",
    " ", "~", "new/", "no/such", "file/new", "folder/new", "folder", "file", "input", "tree", "tree/input", "tree/new",
    "link", "dangling", "loop", "hard", "to folder/new", "folder/../input", "./input", "pipe", "socket",
    "work/config.json", "work/bmn/new", "work/new.json", "work", "a\0b", "n" * 5000, "read only",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/full", "/proc/x", "/dev/stdout/x", "/proc/self/environ")


def surroundings(work: Path) -> list[Input]:
    """A folder of all that may be there already, and which of it is read."""
    for name in ("folder", "tree", "work", "work/bmn"):
        (work / name).mkdir()
    for name in ("file", "input", "tree/input", "work/config.json", "read only"):
        (work / name).write_text(name)
    (work / "read only").chmod(0o444)
    (work / "link").symlink_to("input")
    (work / "dangling").symlink_to("nothing")
    (work / "loop").symlink_to("loop")
    (work / "to folder").symlink_to("tree")
    os.link(work / "input", work / "hard")
    os.mkfifo(work / "pipe")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        here = os.getcwd()
        os.chdir(work)  # addresses are short
        server.bind("socket")
        os.chdir(here)
    return [Input(str(work / name), name) for name in ("input", "tree", "work", "no input")]


def listing(work: Path) -> dict[str, object]:
    """All that lies there: files by their contents, links by what they point to."""
    found: dict[str, object] = {}
    for path in sorted(work.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        found[str(path)] = (
            path.read_bytes() if plain else (os.readlink(path) if path.is_symlink() else path.lstat().st_ino)
        )
    return found


def file_case(rng: random.Random, work: Path) -> None:
    """Of one file, or of two that may be one."""
    given = surroundings(work)
    inputs = {name: (work / name).read_bytes() for name in ("input", "tree/input", "work/config.json")}
    before = listing(work)
    outputs = [Output(_path(rng, work), f"--out{i}") for i in range(rng.choice((1, 1, 2)))]
    try:
        check(outputs, given)
    finally:
        if listing(work) != before:
            raise Wrong(f"{outputs}: the check itself left something")
    for i, output in enumerate(outputs):
        try:
            atomic.write(output.path, f"result {i}".encode())
        except OSError as e:
            if output.path not in DEVICES:
                raise
            raise InputError(str(e)) from e  # as commands end it
    for i, output in enumerate(outputs):
        if not atomic.is_stream(output.path) and Path(output.path).read_bytes() != f"result {i}".encode():
            raise Wrong(f"{output}: not what was written")
    if inputs != {name: (work / name).read_bytes() for name in inputs}:
        raise Wrong(f"{outputs}: an input was written over")


def folder_case(rng: random.Random, work: Path) -> None:
    """Of a folder, which is made."""
    given = surroundings(work)
    before = listing(work)
    output = Output(_path(rng, work), "--out", folder=True, files=rng.choice(((), ("input", "config.json"))))
    try:
        check([output], given)
    except InputError:
        if listing(work) != before:
            raise Wrong(f"{output}: the check itself left something") from None
        raise
    if os.path.isdir(output.path):
        return
    with atomic.making(output.path) as temporary:
        (temporary / "result").write_text("x")
    if not (Path(output.path) / "result").is_file() or any(listing(work).get(path) != x for path, x in before.items()
                                                           if isinstance(x, bytes)):  # fmt: skip
        raise Wrong(f"{output}: not made, or something else was changed")


def _path(rng: random.Random, work: Path) -> str:
    if rng.random() < 0.1:
        return rng.choice(DEVICES)
    name = rng.choice(NAMES)
    return f"{work}/{name}" if name or rng.random() < 0.5 else ""


def cases(folder: Path) -> dict[str, Case]:
    """Of files, and of folders."""
    return {"output file": file_case, "output folder": folder_case}
