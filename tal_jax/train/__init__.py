"""Training: from a stage to its trained parameters, in steps that a checkpoint can take up again."""

from tal_jax.callable_module import make_callable

make_callable(__name__)
