"""Runs a main function: its flags, the check of inputs and outputs, and an end in one line where it fails."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict

from tal_jax.commands import config_flag, endings, synonyms
from tal_jax.commands.endings import fail
from tal_jax.data import outputs
from tal_jax.errors import InputError

__all__ = ["fail", "invocation", "run"]
Flags = Sequence[flags.FlagHolder[Any]]


def invocation(name: str) -> str:
    """How the command of this name is called, in the form in which the present one was; for advice in messages."""
    return f"tal-jax {name}" if endings.installed() else f"python -m launch.{name}"


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        # Keys of a config are read from sys.argv itself.
        argv = sys.argv[:] = synonyms.rewritten(argv)
        rest = flags.FLAGS(list(argv))
    except (AttributeError, KeyError, flags.Error, InputError, TypeError, ValueError) as e:
        fail(_flag_error(e))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}: every option is written --name=value")
    return rest


def _flag_error(error: Exception) -> str:
    """What is wrong with the flags, in words that do without absl's own."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, InputError):
        inner = inner.__cause__ or inner.__context__
    if inner is not None:
        return str(inner)
    text = str(error).strip().splitlines()[-1]
    if found := re.search(r"Flag --(\S+) must have a value other than None", text):
        return f"--{found[1]} is missing: {flags.FLAGS[found[1]].help}"
    if found := re.match(r"flag --(config\.[^=]+)=(.*?): ", text):
        return config_flag.explained(found[1], found[2]) or text
    return text


def run(
    main: Callable[[Sequence[str]], None],
    *,
    reads: Flags = (),
    writes: Flags = (),
    fills: Flags = (),
    files: Callable[[], Sequence[str]] = tuple,
    abrupt: bool = False,
) -> None:
    """Parses flags, looks at what will be written, and calls `main(argv)`; `endings` says how it can end.

    Args:
      main: the body of the command; it gets what the flags left of the command line.
      reads: see `check`.
      writes: likewise.
      fills: likewise.
      files: gives the names for `check`, once the flags are parsed.
      abrupt: see `endings.guarded`.
    """

    def checked(argv: Sequence[str]) -> None:
        # Orbax warns of what is meant to be so, and logs errors that it raises as well.
        logging.set_verbosity(logging.FATAL)
        check(reads=reads, writes=writes, fills=fills, files=files())
        main(argv)

    with endings.guarded(abrupt=abrupt):
        app.run(checked, flags_parser=_parse)


def check(*, reads: Flags = (), writes: Flags = (), fills: Flags = (), files: Sequence[str] = ()) -> None:
    """Looks at the outputs that flags name.

    Args:
      reads: the flags that name files and folders to read, alone, several, or as NAME=PATH.
      writes: the flags that name files to write.
      fills: the flags that name folders to write.
      files: names of what will be written in those folders, as far as inputs may lie in them.

    Raises:
      InputError: see `outputs.check`.
    """
    found = [outputs.Output(path, f"--{flag.name}") for flag in writes for path in _given(flag)]
    found += [outputs.Output(path, f"--{flag.name}", True, tuple(files)) for flag in fills for path in _given(flag)]
    outputs.check(found, [outputs.Input(path, name) for flag in reads for name, path in _paths(flag)])


def _given(flag: flags.FlagHolder[Any]) -> list[str]:
    """The values of a flag; an empty one counts where the user gave it."""
    value = flag.value
    values = [value] if isinstance(value, str) else list(value or ())
    return values if flag.present else [v for v in values if v]


def _paths(flag: flags.FlagHolder[Any]) -> list[tuple[str, str]]:
    """What exists of the paths that a flag names, with how it was given; `NAME=PATH` is one too."""
    if isinstance(flag.value, ConfigDict):
        return config_flag.paths(flag)
    texts = [text for value in _given(flag) for text in (value, value.partition("=")[2])]
    return [(f"--{flag.name}", text) for text in texts if text and os.path.exists(text)]
