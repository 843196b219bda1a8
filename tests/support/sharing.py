"""Trainings of equal models on many sets share their compiled programs: making them is nearly all of the time."""

import contextlib

import jax
import pytest

from tal_jax.detect import detect
from tal_jax.train import loop


@contextlib.contextmanager
def shared_programs():
    """While it is open, a step, or a prediction, of a task and shapes that there were before is not made again."""
    programs, steps, predictors = {}, {}, {}
    make_program, make_predictor, plan = loop.make_program, loop.Predictor, loop.plan_training

    def shapes(tree):
        return str(jax.tree.map(lambda x: (jax.numpy.shape(x), str(x.dtype)), tree))

    def program(task, optimizer, mesh, example, **options):
        key = f"{task!r} {shapes(example)} {options}"
        if key not in programs:
            programs[key] = Shared(make_program(task, optimizer, mesh, example, **options), steps, key)
        return programs[key]

    def predictor(task, mesh, predict=None):
        key = f"{task!r}"
        if key not in predictors:
            predictors[key] = make_predictor(task, mesh, predict)
        return predictors[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_program", program)
        patch.setattr(loop, "plan_training", lambda *given: plan(*given, trace=False))
        for module in (loop, detect):
            patch.setattr(module, "Predictor", predictor)
        yield


class Shared:
    """A program that compiles its step once."""

    def __init__(self, program, steps, key):
        self._program, self._steps, self._key = program, steps, key

    def __getattr__(self, name):
        return getattr(self._program, name)

    def compiled(self, state, batch):
        """The step; see `Program.compiled`."""
        if self._key not in self._steps:
            self._steps[self._key] = self._program.compiled(state, batch)
        return self._steps[self._key]
