"""The check of outputs before work begins: they can be written, and none of them is an input.

Of every command the rule is the same. A file is replaced, at once and only when the new one is complete. A folder is
made, or is empty, or holds an earlier result of the same command; which results are replaced, and which gone on with,
its command says.
"""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tal_jax.data import atomic
from tal_jax.errors import InputError

# What a training writes into its folder beside the folders of its stages.
OF_A_TRAINING = {"config.json", "config.py", "lock", "lock.owner"}


@dataclass(frozen=True)
class Output:
    """A file or folder that will be written."""

    path: str
    name: str = "--out"  # how it was given, for messages
    folder: bool = False
    files: tuple[str, ...] = ()  # that will be written in the folder, where inputs may lie


@dataclass(frozen=True)
class Input:
    """A file or folder that will be read."""

    path: str
    name: str  # how it was given, for messages


def check(outputs: Iterable[Output], inputs: Iterable[Input] = ()) -> None:
    """Looks at all outputs of a command; nothing is changed.

    Args:
      outputs: what will be written.
      inputs: what will be read; those that do not exist are left to their readers.

    Raises:
      InputError: an output cannot be written, is a folder instead of a file or the other way round, is an input, or
        two are one.
    """
    outputs = list(outputs)
    for output in outputs:
        try:
            _check_folder(output) if output.folder else _check_file(output)
        except OSError as e:
            raise _refused(output, e.strerror or str(e), "name one that can be written") from e
    read = [given for given in inputs if os.path.exists(given.path)]
    for output in outputs:
        for path in [os.path.join(output.path, name) for name in output.files] if output.folder else [output.path]:
            _check_no_input(output, path, read)
        if output.folder:
            _check_other_folder(output, read)
    files = [output for output in outputs if not (output.folder or atomic.is_stream(output.path))]
    for i, output in enumerate(files):
        for other in files[:i]:
            if os.path.realpath(output.path) == os.path.realpath(other.path):
                raise _refused(output, f"the same file as {other.name}", "give each a name of its own")


def _check_file(output: Output) -> None:
    path = output.path
    if not path or "\0" in path:
        raise _refused(output, "no name", "name a file")
    if path.endswith(os.sep) or Path(path).name in ("", ".", "..") or os.path.isdir(path):
        raise _refused(output, "a folder", "name a file in it")
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        pass
    else:
        # The standard output may be a pipe; one with a name waits for its reader, perhaps for ever.
        named = stat.S_ISFIFO(mode) and os.path.exists(os.path.realpath(path))
        if named or stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
            raise _refused(output, "a pipe, socket or disk", "name a file, or /dev/stdout")
        if not os.access(path, os.W_OK):
            raise _refused(output, os.strerror(errno.EACCES), "make it writable, or name another file")
        if atomic.is_stream(path):
            return
    real = Path(os.path.realpath(path))
    if not real.parent.is_dir():
        raise _refused(output, f"there is no folder {_shown(real.parent)}", "make it, or name another file")
    atomic.check_can_write(real.parent, real.name)
    _check_length(real.parent, real.name)


def _check_folder(output: Output) -> None:
    path = output.path
    if not path or "\0" in path:
        raise _refused(output, "no name", "name a folder")
    if os.path.islink(path) and not os.path.exists(path):
        raise _refused(output, "a link to what is missing", "make the folder, or name another")
    if os.path.lexists(path) and not os.path.isdir(path):
        raise _refused(output, "not a folder", "name one, or remove the file")
    missing = []
    there = Path(os.path.realpath(path))
    while not os.path.lexists(there) and there != there.parent:
        missing.append(there.name)
        there = there.parent
    if not there.is_dir():
        raise _refused(output, f"{_shown(there)} is no folder", "name another")
    for name in missing:
        _check_length(there, name)
    atomic.check_can_write(there)


def _check_length(folder: Path, name: str) -> None:
    """Raises OSError for a name that the folder's file system does not take."""
    if len(os.fsencode(name)) > os.pathconf(folder, "PC_NAME_MAX"):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def _check_no_input(output: Output, path: str, inputs: Sequence[Input]) -> None:
    """Raises InputError where an existing file is an input, or is in a folder that is one."""
    if not os.path.exists(path) or atomic.is_stream(path):
        return
    real = Path(os.path.realpath(path))
    for given in inputs:
        if os.path.samefile(path, given.path):
            raise _refused(output, f"the same file as {given.name}={_shown(given.path)}", "name another")
        folder = Path(os.path.realpath(given.path))
        if folder.is_dir() and real.is_relative_to(folder) and _belongs(real.relative_to(folder), folder):
            raise _refused(output, f"in {given.name}={_shown(given.path)}, which is read", "name another")


def _belongs(file: Path, folder: Path) -> bool:
    """Whether a file of an input folder is one of the input: results may lie beside the stages of a training."""
    if (folder / "config.json").is_file():
        return len(file.parts) > 1 or file.name in OF_A_TRAINING
    return True


def _check_other_folder(output: Output, inputs: Sequence[Input]) -> None:
    for given in inputs:
        if os.path.isdir(output.path) and os.path.samefile(output.path, given.path):
            raise _refused(output, f"the same folder as {given.name}", "name another")


def _refused(output: Output, reason: str, remedy: str) -> InputError:
    return InputError(f"{output.name}={_shown(output.path)}: cannot be written ({reason}): {remedy}")


def _shown(path: str | os.PathLike) -> str:
    """A path as it stands in a message: thousands of characters say no more than some."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:80]}..{text[-80:]}"
