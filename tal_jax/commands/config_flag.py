"""The flag --config of all commands: a file by its path, or one of the package by its name."""

import os
import sys
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from tal_jax import bundled


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


class _FileParser(flags.ArgumentParser):
    """From FILE[:VARIANT] to the whole config, locked: a key that there is not is an error."""

    def parse(self, argument: str) -> ConfigDict:
        from tal_jax.stages.config import with_defaults

        name, variant = bundled.split_variant(argument)
        return with_defaults(bundled.load_config(located("configs", name), *variant)).lock()

    def flag_type(self) -> str:
        return "config object"
