"""The commands, a file each: `python -m launch.NAME` in a checkout, `tal-jax NAME` where the package is installed."""

import sys

from tal_jax.commands import allocation, endings

allocation.ask_for()
if allocation.command_of(sys.orig_argv) is not None:
    endings.watch(at_once=True)
