"""The lock of a workdir: one training at a time."""

import contextlib
import errno
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tal_jax.errors import InputError


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keeps other trainings out of a workdir; the lock goes with its process, however that ends.

    Raises:
      InputError: another process trains here, or nothing can be written.
    """
    owner = workdir / "lock.owner"  # beside the lock, which others may not be able to read
    lock = FileLock(workdir / "lock", timeout=0)
    new = not workdir.exists()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as e:
        who = owner.read_text()[:200].strip() if owner.is_file() else ""
        raise InputError(
            f"{workdir}: {who or 'another process'} is training here: wait for it, stop it, or choose another --workdir"
        ) from e
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{workdir}: cannot be written ({e.strerror}): choose another --workdir") from e
    try:
        with contextlib.suppress(OSError):  # no more than a note for those who wait
            owner.write_text(f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        if new and [path.name for path in workdir.iterdir()] == ["lock"]:  # refused: nothing is to be left
            with contextlib.suppress(OSError):
                (workdir / "lock").unlink()
                workdir.rmdir()
        lock.release()
