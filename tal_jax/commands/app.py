"""Runs a main function so that bad input ends in one line on stderr and exit status 2."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from tal_jax.errors import DIVERGED_STATUS, RESTART_STATUS, InputError, Interrupted, TrainingDiverged


def fail(message: str, *, abrupt: bool = False, status: int = 2) -> NoReturn:
    """Prints one error line to stderr and ends the process, without a traceback.

    Args:
      message: what is printed.
      abrupt: end without waiting for other threads, see `run`.
      status: the exit status.
    """
    kind = "" if status == RESTART_STATUS else "error: "
    print(f"{_program()}: {kind}{' '.join(str(message).split())}", file=sys.stderr, flush=True)
    if abrupt:
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def invocation(name: str) -> str:
    """How the command of this name is called, in the form in which the present one was; for advice in messages."""
    return f"tal-jax {name}" if _installed() else f"python -m launch.{name}"


def _program() -> str:
    """This command, in the form in which it was called: `launch.NAME` in a checkout, else `tal-jax NAME`."""
    return f"tal-jax {_name()}" if _installed() else f"launch.{_name()}"


def _name() -> str:
    return os.path.splitext(os.path.basename(sys.argv[0]))[0]


def _installed() -> bool:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == f"tal_jax.launch.{_name()}"


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(list(argv))
    except (AttributeError, KeyError) as e:  # ml_collections: an unknown key, with the nearest known one
        inner: object = e
        while isinstance(inner, Exception) and inner.args:
            inner = inner.args[0]
        fail(f"config: no such key: {inner}")
    except (flags.Error, InputError, TypeError, ValueError, OSError) as e:
        fail(str(e).strip().splitlines()[-1])
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}: every option is written --name=value")
    return rest


def run(main: Callable[[Sequence[str]], None], *, abrupt: bool = False) -> None:
    """Parses flags, calls `main(argv)`, and turns `InputError` and a full disk into one line and exit status 2.

    Args:
      main: the body of the command; it gets what the flags left of the command line.
      abrupt: after an error, end without waiting for other threads: one that still writes a checkpoint to a full disk
        would add its own traceback.
    """

    def guarded(argv: Sequence[str]) -> None:
        # Orbax warns of what is meant to be so, and logs errors that it raises as well.
        logging.set_verbosity(logging.FATAL)
        try:
            main(argv)
        except InputError as e:
            fail(str(e), abrupt=abrupt)
        except Interrupted as e:
            fail(str(e), abrupt=abrupt, status=RESTART_STATUS)
        except TrainingDiverged as e:
            fail(str(e), abrupt=abrupt, status=DIVERGED_STATUS)
        except OSError as e:
            if e.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            text = f"no space left on the device{f' for {e.filename}' if e.filename else ''}: free some and start again"
            fail(text, abrupt=abrupt)

    app.run(guarded, flags_parser=_parse)
