"""Files and folders that appear under their name only when they are complete.

Until then they are made beside it, as NAME.part0.tmp, by a process that holds a lock on it: what a killed process left
is told from what a living one writes, on whatever machine, and goes when something is written under the name again.
"""

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".tmp"
NAME_BYTES = 240  # of a temporary name without its ending: file systems take 255
STREAMS = ("/dev/", "/proc/")  # names in these folders are of what is open elsewhere, such as /dev/stdout


def is_stream(path: str | os.PathLike) -> bool:
    """Whether a path is written into as it comes, and never replaced: a terminal, a pipe, a device."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or os.path.abspath(path).startswith(STREAMS)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name, and lets the file take the place of `path` at the end; after an exception it is removed.

    A link is followed: what it points to is replaced. A file that is replaced hands on its permissions, a new one has
    those of the umask. What is no file, see `is_stream`, gets the content instead.

    Raises:
      OSError: what the block raised, with the file's name added where it was missing (a full disk).
    """
    if is_stream(path):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "content"
            _pour(Path(folder) / "content", path)
        return
    final = Path(os.path.realpath(path))
    with _named(path), _claimed(final, folder=False) as (temporary, mode):
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(final).st_mode)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # renaming first and losing power then would leave an empty file under the name
        os.chmod(temporary, mode)  # some libraries make files that only their owner can read
        os.replace(temporary, final)


def write(path: str | os.PathLike, data: bytes) -> None:
    """Writes a whole file at once. Raises OSError, see `writing`."""
    with writing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def making(path: str | os.PathLike) -> Iterator[Path]:
    """Gives an empty temporary folder that takes the place of the folder `path`, old content and all, at the end.

    After an exception it is removed, and what was there before stays. All files in it get the permissions of the umask.

    Raises:
      OSError: what the block raised, with a name added where it was missing.
    """
    final = Path(os.path.realpath(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    with _named(path), _claimed(final, folder=True) as (temporary, mode):
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                os.chmod(file, mode & 0o666)
        try:
            os.rename(temporary, final)  # takes the place of an empty folder too
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            with _claimed(final, folder=True) as (aside, _):
                os.rename(final, aside)  # over the empty folder; it goes with the block, or is put back
                try:
                    os.rename(temporary, final)
                except BaseException:
                    os.rename(aside, final)
                    raise


def check_can_write(folder: str | os.PathLike, name: str = "check") -> None:
    """Makes and removes a temporary file of a name in a folder. Raises OSError where that fails."""
    with _claimed(Path(os.path.realpath(folder)) / name, folder=False):
        pass


@contextlib.contextmanager
def _named(path: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.filename is None or SUFFIX in str(e.filename):
            e.filename = str(path)
        raise


@contextlib.contextmanager
def _claimed(final: Path, *, folder: bool) -> Iterator[tuple[Path, int]]:
    """A new empty file or folder beside `final`, locked, and its permissions; it is gone after the block."""
    # Cut by bytes: a name of the longest kind is to have a temporary one as well.
    base = os.fsencode(final.name)[:NAME_BYTES].decode("utf-8", "ignore")
    descriptor, number = None, -1
    while descriptor is None:
        number += 1
        temporary = final.with_name(f"{base}.part{number}{SUFFIX}")
        descriptor = _lock_new(temporary, folder=folder)
    try:
        yield temporary, stat.S_IMODE(os.fstat(descriptor).st_mode)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove(temporary)
        raise
    finally:
        with contextlib.suppress(OSError):
            if _is_same(descriptor, temporary):  # the name may be another process's by now
                _remove(temporary)
        os.close(descriptor)
        later = final.with_name(f"{base}.part{number + 1}{SUFFIX}")
        _clear(later)  # of two that were killed together


def _lock_new(temporary: Path, *, folder: bool) -> int | None:
    """Makes and locks a file or folder, and returns its descriptor; None where another process is at it."""
    while True:
        try:
            if folder:
                os.mkdir(temporary)
                descriptor = os.open(temporary, os.O_RDONLY)
            else:
                descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            if not _clear(temporary):
                return None
            continue
        except FileNotFoundError:
            if folder and temporary.parent.is_dir():
                continue  # taken for abandoned before it was opened
            raise
        with contextlib.suppress(OSError):  # of file systems without locks: there nothing counts as abandoned
            _lock(descriptor, wait=True)
        if _is_same(descriptor, temporary):
            return descriptor
        os.close(descriptor)  # taken for abandoned before it was locked


def _clear(temporary: Path) -> bool:
    """Removes what nobody holds a lock on; whether the name is free now."""
    try:
        descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as e:
        return e.errno == errno.ENOENT
    try:
        _lock(descriptor, wait=False)
        if _is_same(descriptor, temporary):
            _remove(temporary)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _lock(descriptor: int, *, wait: bool) -> None:
    """Locks what is open. Raises OSError where somebody else has, or where there are no such locks."""
    try:
        import fcntl  # not every system has it
    except ImportError as e:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from e
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _pour(content: Path, path: str | os.PathLike) -> None:
    """Writes the content into what is open already, or can be opened, under a name."""
    sys.stdout.flush()
    # Another opening of a file that is the standard output would begin at its start, and overwrite what was printed.
    standard = [number for number in (1, 2) if _is_same(number, path)]
    descriptor = os.dup(standard[0]) if standard else os.open(path, os.O_WRONLY)
    with open(descriptor, "wb") as out, open(content, "rb") as file:
        shutil.copyfileobj(file, out)


def _is_same(descriptor: int, path: str | os.PathLike) -> bool:
    """Whether a path is, by now, the name of what a descriptor has open."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
