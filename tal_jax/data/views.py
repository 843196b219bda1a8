"""Views: an assembler that sees every recording turned, so that a model can be asked several times and averaged."""

import dataclasses

import numpy as np

from tal_jax.data.assembler import Assembler
from tal_jax.data.augmentation import HALF_TURNS
from tal_jax.windows import Normalization


def half_turned(assembler: Assembler) -> tuple[Assembler, ...]:
    """The assembler as it is, and with three-axis sensors turned by half a turn about x, y and z.

    Args:
      assembler: of a stage that was trained with half turns; nothing is turned where no channel is known to.

    Returns:
      Four assemblers, or the one given.
    """
    augmentation = assembler.augmentation
    if not (augmentation.half_turns and augmentation.triaxial):
        return (assembler,)
    plain = assembler.normalization or Normalization(np.zeros(assembler.width, np.float32), np.ones(1, np.float32))
    views = []
    for turn in HALF_TURNS:
        sign = np.ones(assembler.width, np.float32)
        for first, last in augmentation.triaxial:
            sign[first:last] = np.tile(np.diag(turn), (last - first) // 3)
        # Half a turn changes signs alone, and (s x - m) / d is (x - s m) / (s d).
        views.append(dataclasses.replace(assembler, normalization=Normalization(plain.mean * sign, plain.std * sign)))
    return tuple(views)
