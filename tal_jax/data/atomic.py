"""Files that appear under their name only when they are complete."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".tmp"


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path`, and renames it to `path` at the end; after an exception it is removed.

    Raises:
      OSError: what the block raised, with the file's name added where it was missing (a full disk).
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{SUFFIX}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # renaming first and losing power then would leave an empty file under the name
        os.replace(temporary, path)
    except BaseException as e:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(e, OSError) and e.filename is None:
            e.filename = str(path)
        raise


def write(path: str | os.PathLike, data: bytes) -> None:
    """Writes a whole file at once. Raises OSError, see `writing`."""
    with writing(path) as temporary:
        temporary.write_bytes(data)
