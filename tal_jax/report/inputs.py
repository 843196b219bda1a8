"""What a workdir adds to a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Point(NamedTuple):
    """One logged number of a training."""

    stage: str
    metric: str
    step: int
    value: float | None  # None: not a finite number


@dataclass(frozen=True, eq=False)
class Curve:
    """The class activation sequences that one stage has of one recording."""

    stride: float  # seconds per snippet
    of_class: Mapping[str, np.ndarray]  # label -> [T] in [0, 1]


@dataclass(frozen=True, eq=False)
class Material:
    """What one workdir knows."""

    name: str
    history: tuple[Point, ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)  # id -> loss of the recording
    loss_of: str = ""  # the stage that the losses are of
    sequences: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)  # id -> stage -> curves
