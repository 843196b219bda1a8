"""The detector as a task: what the house asks of a method."""

import dataclasses

import jax
import jax.numpy as jnp

from support.toy_method.loss import point_loss
from support.toy_method.model import PointDetector
from tal_jax.ops.nms import soft_nms, top_k
from tal_jax.tasks.task import Task
from tal_jax.types import Detections


@dataclasses.dataclass(frozen=True)
class PointTask(Task):
    """Every snippet votes for the action around it."""

    model: PointDetector
    candidates: int = 100
    detections: int = 20
    nms_sigma: float = 0.4

    def init(self, rng, batch):
        return self.model.init(rng, batch.features, batch.mask, train=False)

    def loss(self, params, batch, rng, progress=1.0):
        logits, distances = self.model.apply(params, batch.features, batch.mask, train=True, rngs={"dropout": rng})
        return point_loss(logits, distances, batch)

    def predict(self, params, batch):
        logits, distances = self.model.apply(params, batch.features, batch.mask, train=False)
        b, t, k = logits.shape
        centre = jnp.arange(t, dtype=jnp.float32)[None] + 0.5
        segments = jnp.stack([centre - distances[..., 0], centre + distances[..., 1]], axis=-1)
        segments = jnp.clip(segments, 0.0, batch.duration[:, None, None])
        found = Detections(
            segments=jnp.broadcast_to(segments[:, :, None], (b, t, k, 2)).reshape(b, -1, 2),
            labels=jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32), (b, t, k)).reshape(b, -1),
            scores=jax.nn.sigmoid(logits).reshape(b, -1),
            mask=jnp.broadcast_to(batch.mask[..., None], (b, t, k)).reshape(b, -1),
        )
        return soft_nms(top_k(found, self.candidates), sigma=self.nms_sigma, top_k=self.detections)

    def merge(self, detections):
        return soft_nms(detections, sigma=self.nms_sigma, top_k=detections.scores.shape[-1])
