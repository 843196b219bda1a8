"""A classifier of whole recordings as a task, for sets that come without class scores."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from tal_jax.losses.tcanet import video_class_loss
from tal_jax.models.classifier import VideoClassifier
from tal_jax.ops.nms import soft_nms
from tal_jax.tasks.finite import marked
from tal_jax.tasks.fusion import mean_of_logits
from tal_jax.tasks.task import CLASS_SCORES, Params, Task
from tal_jax.tasks.whole_rows import covering
from tal_jax.types import Array, Batch, Detections


@dataclasses.dataclass(frozen=True)
class ClassifierTask(Task):
    """Classification of recordings: one detection per class, over the whole recording, scored by its probability."""

    makes: ClassVar = CLASS_SCORES
    measured_by: ClassVar = "best_label"
    any_length: ClassVar = True
    fusable: ClassVar = True

    model: VideoClassifier

    def init(self, rng: PRNGKeyArray, batch: Batch) -> Params:
        """Parameters for batches of this shape, see `Task.init`."""
        return self.model.init(rng, batch.features, batch.mask, train=False)

    def loss(
        self, params: Params, batch: Batch, rng: PRNGKeyArray, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """Sigmoid cross-entropy against the recordings' labels, and the `accuracy` of the likeliest class."""
        logits: Any = self.model.apply(params, batch.features, batch.mask, train=True, rngs={"dropout": rng})
        loss = video_class_loss(logits, batch.labels)
        # A recording counts as right when its highest-scored class is one of its own.
        best = jnp.argmax(logits, axis=-1)
        right = jnp.take_along_axis(batch.labels, best[:, None], axis=1)[:, 0]
        return loss, {"accuracy": jnp.mean(right)}

    def predict(self, params: Params, batch: Batch) -> Detections:
        """Detections [B, K]: class k covers the recording with score sigmoid(logit k)."""
        outputs = self.forward(params, batch)
        return marked(self.decode(outputs, batch), self.decoded_from(outputs))

    def forward(self, params: Params, batch: Batch) -> Array:
        """Class logits [B, K]."""
        logits: Any = self.model.apply(params, batch.features, batch.mask, train=False)
        return logits

    def fuse_outputs(self, outputs: Sequence[Array], weights: Array) -> Array:
        """Class probabilities averaged over models, as logits [B, K]."""
        return mean_of_logits(outputs, weights)

    def alike(self, snippets: int) -> dict[str, Any]:
        """Nothing has to agree: probabilities of whole recordings can always be averaged."""
        return {}

    def decode(self, outputs: Array, batch: Batch) -> Detections:
        """Detections [B, K] from logits [B, K], best first; each covers the whole row."""
        return covering(jax.nn.sigmoid(outputs), batch)

    def merge(self, detections: Detections) -> Detections:
        """A class's score is its best window's: hard NMS of segments that all cover the whole recording."""
        end = jnp.max(jnp.where(detections.mask, detections.segments[..., 1], 0.0), axis=1, keepdims=True)
        whole = jnp.stack([jnp.zeros_like(end), end], axis=-1)
        segments = jnp.broadcast_to(whole, detections.segments.shape)
        return soft_nms(
            dataclasses.replace(detections, segments=segments),
            method="hard",
            top_k=self.model.num_classes,
            min_score=1e-9,
        )
