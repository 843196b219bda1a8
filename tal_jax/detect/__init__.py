"""Detection in a split with trained stages: of one run, of ensembles, and for the report of a run."""

from tal_jax.callable_module import make_callable

make_callable(__name__)
