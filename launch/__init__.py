"""The commands, a file each: `python -m launch.NAME` in a checkout, `tal-jax NAME` where the package is installed."""

from tal_jax.commands import huge_pages

huge_pages.ask_for()
