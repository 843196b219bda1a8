"""The commands, a file each: `python -m launch.NAME` in a checkout, `tal-jax NAME` where the package is installed."""

import sys

from tal_jax.commands import endings, huge_pages

huge_pages.ask_for()
if huge_pages.is_command(sys.orig_argv):
    endings.watch(at_once=True)
