"""One program for all backends: which of two forms runs is decided where it is compiled, not where it is traced."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax

Form = Callable[..., Any]


def by_platform(cpu: Form, elsewhere: Form, *args: Any, constants: tuple[Any, ...] = ()) -> Any:
    """`cpu(*args, *constants)` in what is compiled for CPUs, `elsewhere(*args, *constants)` in all else.

    Args:
      cpu, elsewhere: two forms of the same function of arrays.
      args: floating arrays, or trees of them, for differentiation (in reverse mode).
      constants: arrays of any type, constants for differentiation.

    Returns:
      What both return, alike in shapes and types.

    Nothing is kept for the gradients but the arguments: of two forms joined by a conditional, each would keep zeros in
    place of what the other one keeps. What a form needs from its forward pass is in its backward pass again, where the
    compiler finds that it has it already, or removes what nobody reads.
    """
    return _chosen(cpu, elsewhere, args, constants)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chosen(cpu: Form, elsewhere: Form, args: tuple[Any, ...], constants: tuple[Any, ...]) -> Any:
    return lax.platform_dependent(*args, *constants, cpu=cpu, default=elsewhere)


def _forward(cpu: Form, elsewhere: Form, args: tuple[Any, ...], constants: tuple[Any, ...]) -> tuple[Any, Any]:
    return _chosen(cpu, elsewhere, args, constants), (args, constants)


def _backward(cpu: Form, elsewhere: Form, saved: Any, cotangent: Any) -> tuple[Any, None]:
    def gradients(form: Form) -> Form:
        def pull_back(args: tuple[Any, ...], constants: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
            return jax.vjp(lambda *args: form(*args, *constants), *args)[1](cotangent)

        return pull_back

    return lax.platform_dependent(*saved, cotangent, cpu=gradients(cpu), default=gradients(elsewhere)), None


_chosen.defvjp(_forward, _backward)
