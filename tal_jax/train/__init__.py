"""Training: optimizer, step, checkpoints, progress, interruption, loop."""

from tal_jax.callable_module import make_callable

make_callable(__name__)
