"""How commands end: what goes wrong outside of them, and signals, become one line on stderr and a status.

| what | status |
|---|---|
| bad input, and everything that the system refuses: a full disk, a read-only folder, too many open files | 2 |
| the loss is not finite | 70 |
| SIGTERM, and what starting again would mend | 75 |
| SIGINT | 130 |
| nobody reads the output any more | killed by SIGPIPE, without a word |
"""

import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from tal_jax.commands.synonyms import as_typed
from tal_jax.errors import DIVERGED_STATUS, RESTART_STATUS, InputError, Interrupted, TrainingDiverged
from tal_jax.words import allowed

INTERRUPTED_STATUS = 130  # as a shell says it of SIGINT

REMEDIES = {
    errno.ENOSPC: "free some and start again",
    errno.EDQUOT: "free some and start again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or write elsewhere",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "change its permissions, or name another",
    errno.EPERM: "change its permissions, or name another",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs, or take a machine with more memory",
    errno.ESTALE: "the folder has gone from its server: start again",
    errno.EIO: "look at the disk, then start again",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file",
    errno.ELOOP: "links point to each other: name another",
}


class _Stopped(BaseException):
    """SIGTERM: raised where the main thread is, so that temporary files go."""


_signalled: list[int] = []  # the signals that came, in order


def program() -> str:
    """This command, in the form in which it was called: its module, `launch.NAME`, or `tal-jax NAME`."""
    if installed():
        return f"tal-jax {name()}"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None and spec.name.endswith(f".{name()}") else f"launch.{name()}"


def name() -> str:
    """The name of this command."""
    if sys.argv[0] == "-m" and "-m" in sys.orig_argv:  # its module is being looked for
        return sys.orig_argv[sys.orig_argv.index("-m") + 1].rpartition(".")[2]
    return os.path.splitext(os.path.basename(sys.argv[0]))[0]


def installed() -> bool:
    """Whether this command was called as `tal-jax NAME`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == f"tal_jax.launch.{name()}"


def fail(message: str, *, abrupt: bool = False, status: int = 2) -> NoReturn:
    """Prints one error line to stderr and ends the process, without a traceback.

    Args:
      message: what is printed.
      abrupt: end without waiting for other threads, see `guarded`.
      status: the exit status.
    """
    kind = "" if status in (RESTART_STATUS, INTERRUPTED_STATUS) else "error: "
    with contextlib.suppress(OSError):
        print(f"{program()}: {kind}{one_line(as_typed(message))}", file=sys.stderr, flush=True)
    if abrupt:
        with contextlib.suppress(OSError, AttributeError, ValueError):
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def one_line(message: str) -> str:
    """A text as one line without control characters, which a terminal would obey."""
    return "".join(c if allowed(c) else repr(c)[1:-1] for c in " ".join(str(message).split()))


def reason(error: OSError) -> str:
    """What the system refused, of which file, and what helps."""
    where = "" if error.filename is None else f"{os.fspath(error.filename)!s:.300}: "
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the device{where and f' for {where[:-2]}'}: {REMEDIES[error.errno]}"
    remedy = REMEDIES.get(error.errno or 0, "")
    return f"{where}{error.strerror or str(error) or type(error).__name__}{remedy and f': {remedy}'}"


@contextlib.contextmanager
def guarded(*, abrupt: bool = False) -> Iterator[None]:
    """Runs a command's whole work, from its flags on; see the table above for how it ends.

    Args:
      abrupt: after an error, end without waiting for other threads: one that still writes a checkpoint to a full disk
        would add its own traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    watch()
    try:
        try:
            yield
        except SystemExit:
            _flush()
            raise
        _flush()
    except (InputError, Interrupted, TrainingDiverged, OSError, KeyboardInterrupt, _Stopped) as e:
        _end(e, abrupt)
    except Exception:
        if _signalled:  # what it became on its way through a library
            _end(KeyboardInterrupt() if _signalled[-1] == signal.SIGINT else _Stopped(), abrupt)
        raise


def _end(error: BaseException, abrupt: bool) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # of the main thread alone
            signal.signal(number, signal.SIG_IGN)  # it ends already
    match error:
        case Interrupted():
            fail(str(error), abrupt=abrupt, status=RESTART_STATUS)
        case TrainingDiverged():
            fail(str(error), abrupt=abrupt, status=DIVERGED_STATUS)
        case _Stopped():
            fail(WORDS[signal.SIGTERM], abrupt=True, status=RESTART_STATUS)
        case KeyboardInterrupt():
            fail(WORDS[signal.SIGINT], abrupt=True, status=INTERRUPTED_STATUS)
        case BrokenPipeError() if _unread():
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)
        case OSError():
            fail(reason(error), abrupt=abrupt)
    fail(str(error), abrupt=abrupt)


WORDS = {
    signal.SIGTERM: "stopped by SIGTERM: the same command goes on",
    signal.SIGINT: "stopped by SIGINT: the same command goes on",
}


def watch(*, at_once: bool = False) -> None:
    """Lets SIGTERM and SIGINT end this process as the table says.

    Args:
      at_once: end where the signal comes, for the time before anything is written.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        _signalled.append(number)
        if at_once:
            status = INTERRUPTED_STATUS if number == signal.SIGINT else RESTART_STATUS
            os.write(2, f"{program()}: {WORDS[signal.Signals(number)]}\n".encode())
            os._exit(status)
        raise KeyboardInterrupt if number == signal.SIGINT else _Stopped

    def on_ignored(problem: Any) -> None:
        # The signal came in a callback from which no exception gets out.
        if isinstance(problem.exc_value, KeyboardInterrupt | _Stopped):
            _end(problem.exc_value, abrupt=True)
        sys.__unraisablehook__(problem)

    sys.unraisablehook = on_ignored
    # SIGTERM last: whoever sees that this process minds it (the kernel says so) may send either.
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # of the main thread alone
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, on_signal)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _unread() -> bool:
    """Whether nobody reads this process's output any more."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
