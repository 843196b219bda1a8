"""What some tasks can do beside predicting: be averaged with others, and have their decoding searched."""

import typing
from collections.abc import Sequence
from typing import Any, Protocol

from tal_jax.errors import InputError
from tal_jax.tasks.task import Params, Task
from tal_jax.types import Array, Batch, Detections


class Fusable(Protocol):
    """A task whose outputs can be averaged over models before they are decoded."""

    def forward(self, params: Params, batch: Batch) -> Any:
        """The model's outputs for a batch, before decoding."""
        ...

    def fuse_outputs(self, outputs: Sequence[Any], weights: Array) -> Any:
        """One output from those of several models of this kind.

        Args:
          outputs: what N models say of the same frames; their time axes may be of different lengths.
          weights: [N] float32 that sum to 1.

        Returns:
          An output on the time axis of the first one.
        """
        ...

    def decode(self, outputs: Any, batch: Batch) -> Detections:
        """Detections from outputs: `predict(params, batch)` is `decode(forward(params, batch), batch)`."""
        ...

    def alike(self, snippets: int) -> dict[str, Any]:
        """What two tasks must agree in for their outputs to be averaged.

        Args:
          snippets: T of this task's frame, to express lengths as fractions of it.

        Returns:
          The values that must be equal, by a name for each that a message can use.
        """
        ...


class Tunable(Protocol):
    """A task that decodes sequences by numbers that can be searched: one compilation serves all of them."""

    model: Any
    decoding: Any

    def forward(self, params: Params, batch: Batch) -> Any:
        """The model's output for a batch, and class probabilities [B, K]."""
        ...

    def decode(self, outputs: Any, batch: Batch, decoding: Any = None) -> Detections:
        """Detections from outputs; `decoding`, which may be traced, takes the place of the task's own."""
        ...

    def decoding_fields(self) -> tuple[str, ...]:
        """The fields of `decoding` that its decoding reads."""
        ...


def as_tunable(task: Task, where: str) -> Tunable:
    """The task as one whose decoding can be searched.

    Args:
      task: any task.
      where: names the stage in the message.

    Raises:
      InputError: its decoding cannot be searched.
    """
    if not task.tunable:
        raise InputError(f"{where}: a {type(task).__name__} has no decoding to tune: choose a stage of method 'mgfn'")
    return typing.cast(Tunable, task)
