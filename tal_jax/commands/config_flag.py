"""The flag --config of all commands: a file by its path, or one of the package by its name."""

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from tal_jax import bundled
from tal_jax.errors import InputError


def define() -> flags.FlagHolder[Any]:
    """Defines --config, whose value is the config of a file of `configs/`, with --config.KEY=VALUE to change it."""
    holder = config_flags.DEFINE_config_file("config", None, "Config file, with :variant where it has variants.")
    flags.FLAGS["config"].parser = _FileParser()
    return holder


def located(room: str, text: str) -> str:
    """The path of the file that a --config means, for commands whose flag is not that of `define`.

    Where the text is a path without a file there and the package's file is taken, a line on stderr says so.

    Args:
      room: "configs" or "studies".
      text: the flag's value, without a variant.

    Raises:
      InputError: see `bundled.locate`.
    """
    path = bundled.locate(room, text)
    if path != text and os.sep in text:
        print(f"--config={text}: no such file here, taking {path}", file=sys.stderr, flush=True)
    return path


def paths(holder: flags.FlagHolder[Any]) -> list[tuple[str, str]]:
    """The file that the flag named and the folder of the config's set, those that exist, with how they were given."""
    name, _ = bundled.split_variant(config_flags.get_config_filename(flags.FLAGS[holder.name]))
    found = [(f"--{holder.name}", name), (f"--{holder.name}.data.dir", str(holder.value.data.dir))]
    return [(given, path) for given, path in found if path and os.path.exists(path)]


def explained(name: str, value: str) -> str:
    """What is wrong with the value that was given for a key of the config; "" where it cannot be told.

    Args:
      name: the flag, "config.KEY".
      value: its value on the command line.
    """
    here: Any = flags.FLAGS["config"].value
    for part in name.split(".")[1:]:
        if not isinstance(here, ConfigDict) or part not in here:
            return ""
        here = here[part]
    return f"--{name}={value}: expected a value such as {here!r}"


def _changed(argv: Sequence[str]) -> list[str]:
    """The keys of --config.KEY=VALUE in a command line."""
    return [found[1] for text in argv[1:] if (found := re.match(r"--?(?:no)?config\.([^=]+)", text))]


def _check_known(config: ConfigDict, key: str) -> None:
    """Raises InputError, with the nearest key, where the config has no such one."""
    from tal_jax.stages.config import check_key

    here: Any = config
    *sections, last = key.split(".")
    for depth, part in enumerate([*sections, last]):
        if not isinstance(here, ConfigDict):
            raise InputError(f"config: {'.'.join(sections[:depth])}: a value, without {part!r} in it")
        if part not in here:
            check_key(part, here.keys(), ".".join(sections[:depth]))
        here = here[part]


class _FileParser(flags.ArgumentParser):
    """From FILE[:VARIANT] to the whole config, locked: a key that there is not is an error."""

    def parse(self, argument: str) -> ConfigDict:
        from tal_jax.stages.config import with_defaults

        name, variant = bundled.split_variant(argument)
        path = located("configs", name)
        try:
            config = with_defaults(bundled.load_config(path, *variant)).lock()
        except InputError as e:
            raise InputError(str(e) if path in str(e) else f"{path}: {e}") from e
        for key in _changed(sys.argv):
            _check_known(config, key)
        return config

    def flag_type(self) -> str:
        return "config object"
