"""Flags that go by several names: help texts use one, and every command that has the flag silently takes the others."""

import re
from collections.abc import Iterator, Sequence

from absl import flags

from tal_jax.errors import InputError

NAMES = {  # other name -> those of flags that it may mean
    "subset": ("split",),
    "ground_truth": ("annotations",),
    "config.data.dir": ("data",),
    "data": ("config.data.dir",),
    "damaged": ("blocked",),
    "batch": ("batch_size",),
    "runs": ("workdir",),
    "proposal_units": ("units",),
    "out": ("workdir", "json"),
}
WORDS = {"refuse": "error"}  # of flags that take one of a few words
CONFIG = re.compile(r"config\.")

_typed: dict[str, str] = {}  # names of this command's flags -> how the user called them


def rewritten(argv: Sequence[str], known: flags.FlagValues = flags.FLAGS) -> list[str]:
    """A command line with the names and words that the command's flags have.

    Args:
      argv: the command's name, then its arguments.
      known: the command's flags.

    Raises:
      InputError: one flag is given by two of its names.
    """
    _typed.clear()
    given = {name for argument in argv[1:] for name in _names(argument)}
    found = list(argv[:1])
    rest = iter(argv[1:])
    for argument in rest:
        if argument == "--":
            return [*found, argument, *rest]
        for name in _names(argument):
            own = _own(name, known)
            if own != name:
                if own in given or _typed.get(own, name) != name:
                    raise InputError(
                        f"--{name} and --{_typed.get(own, own)} are two names of one flag: give one of them"
                    )
                _typed[own] = name
                argument = re.sub(rf"^(--?){re.escape(name)}(?==|$)", rf"\g<1>{own}", argument)
            argument = _with_own_word(known, own, argument)
        found.append(argument)
    return found


def as_typed(message: str) -> str:
    """A message with the names of flags that the user knows."""
    for own, name in _typed.items():
        message = re.sub(rf"--{re.escape(own)}\b", f"--{name}", message)
    return message


def _names(argument: str) -> Iterator[str]:
    """The name of the flag that an argument gives, if it gives one."""
    match = re.match(r"--?([A-Za-z][\w.]*)(?:=|$)", argument)
    if match:
        yield match[1]


def _own(name: str, known: flags.FlagValues) -> str:
    """The command's name for a flag; the name itself where it has none, or another flag that is called so."""
    return name if _defined(name, known) else next((own for own in NAMES.get(name, ()) if _defined(own, known)), name)


def _defined(name: str, known: flags.FlagValues) -> bool:
    if CONFIG.match(name):  # of a config file, whose keys are flags of their own
        return "config" in known and type(known["config"]).__module__.startswith("ml_collections.")
    return name in known


def _with_own_word(known: flags.FlagValues, name: str, argument: str) -> str:
    """An argument --NAME=WORD with the word that the flag has for it."""
    words = getattr(known[name].parser, "enum_values", None) if name in known else None
    start, _, word = argument.partition("=")
    return f"{start}={WORDS[word]}" if words and word not in words and WORDS.get(word) in words else argument
