"""Detection of a split with what was trained: one run, ensembles, what a report shows of a run."""

from tal_jax.callable_module import make_callable

make_callable(__name__)
