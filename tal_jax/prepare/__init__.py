"""From annotations and feature files to a prepared set: what is checked, packed and left out."""

from tal_jax.callable_module import make_callable

make_callable(__name__)
