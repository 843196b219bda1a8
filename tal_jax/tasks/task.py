"""What the training loop and the prediction loop ask of a method."""

from collections.abc import Sequence
from typing import Any, Protocol

from tal_jax.types import Array, Batch, Detections

Params = Any


class Task(Protocol):
    """A module, its loss and its decoding. All three are pure and can be traced."""

    def init(self, rng: Array, batch: Batch) -> Params:
        """Parameters for batches of this shape."""
        ...

    def loss(
        self, params: Params, batch: Batch, rng: Array, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """Scalar training loss over the global batch, and scalar metrics; progress in [0, 1] drives ramps."""
        ...

    def predict(self, params: Params, batch: Batch) -> Detections:
        """Detections in snippet units, best first."""
        ...

    def merge(self, detections: Detections) -> Detections:
        """One set of detections from the windows of a recording, padded together: [1, P] -> [1, P']."""
        ...


class Fusable(Task, Protocol):
    """A task whose outputs can be averaged over models before they are decoded."""

    def forward(self, params: Params, batch: Batch) -> Any:
        """What the model says, before decoding."""
        ...

    def fuse_outputs(self, outputs: Sequence[Any], weights: Array) -> Any:
        """One output from those of several models of this kind for the same frames, on the first one's time axis."""
        ...

    def decode(self, outputs: Any, batch: Batch) -> Detections:
        """predict = decode(forward(..), ..)."""
        ...
