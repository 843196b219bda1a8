"""Shape annotations are checked wherever a test calls what carries them; the library itself never looks at them."""

import beartype
import jaxtyping

ROOMS = ("tal_jax.segments", "tal_jax.ops", "tal_jax.losses", "tal_jax.models", "tal_jax.encoders")
CHECKED = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))  # an int is a float, as for mypy


def check(function):
    """`function` with its annotations checked at every call, if it is one that others call.

    Helpers pass lengths on, which are symbols in an export. And JAX makes structs of what is no array: axes, shardings,
    placeholders.
    """
    inner = function.__name__.startswith("_") and function.__name__ != "__call__"
    return function if inner or "<locals>" in function.__qualname__ else CHECKED(function)


def install():
    """Has the rooms checked; before any of them is imported."""
    jaxtyping.install_import_hook(list(ROOMS), "support.typecheck.check")
