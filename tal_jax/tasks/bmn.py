"""BMN as a task: its loss, and proposals from its boundary probabilities and confidence maps."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from tal_jax.losses.bmn import bmn_loss
from tal_jax.models.bmn import BMN, BMNOutput
from tal_jax.ops.boundary_matching import cell_segments
from tal_jax.ops.nms import soft_nms, top_k
from tal_jax.segments import width
from tal_jax.tasks.finite import marked
from tal_jax.tasks.fusion import along, durations, mean_of_logits
from tal_jax.tasks.task import PROPOSALS, DataFacts, Params, Settings, Task
from tal_jax.types import Array, Batch, Detections


def candidate_boundaries(probability: Array, mask: Array) -> Array:
    """Snippets that may be a boundary: local peaks, and all above half the recording's maximum.

    Args:
      probability: [B, T] of a start, or of an end, at each snippet.
      mask: [B, T], True where a snippet is real.

    Returns:
      [B, T] bool, False on padding.
    """
    p = jnp.where(mask, probability, 0.0)
    left = jnp.pad(p, ((0, 0), (1, 0)))[:, :-1]
    right = jnp.pad(p, ((0, 0), (0, 1)))[:, 1:]
    peak = (p > left) & (p > right)
    return (peak | (p > 0.5 * jnp.max(p, axis=1, keepdims=True))) & mask


@dataclasses.dataclass(frozen=True)
class BMNTask(Task):
    """Boundary-matching network (Lin et al. 2019, arXiv:1907.09702) as a task; proposals are detections of label -1."""

    makes: ClassVar = PROPOSALS
    measured_by: ClassVar = "proposals"
    fusable: ClassVar = True
    left_open: ClassVar[Mapping[str, Any]] = {"durations": 0}

    model: BMN
    random_negatives: bool = False  # draw the regression's negatives as published; False: their expectation
    regression_weight: float = 10.0
    region: float = 3.0  # width of the boundary regions in snippets
    overlapping_negatives: bool = False  # cells that overlap nothing do not teach the regression
    classification_power: float = 1.0  # the HACS release scores with cls^1.2 x reg
    candidates: int = 500  # cells that enter soft-NMS
    proposals: int = 100  # that soft-NMS keeps
    nms_sigma: float = 0.4
    nms_threshold: tuple[float, float] = (0.5, 0.9)  # from the shortest to a segment as long as the recording

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], options: Mapping[str, Any], settings: Settings, facts: DataFacts
    ) -> Self:
        """As `Task.from_config`; where `durations` is 0, the map reaches a tenth beyond the long training actions.

        New recordings hold longer actions than those of the training.
        """
        durations = model.get("durations") or max(4, math.ceil(1.1 * facts.long_action / facts.scale))
        return super().from_config({**model, "durations": durations}, options, settings, facts)

    def init(self, rng: PRNGKeyArray, batch: Batch) -> Params:
        """Parameters for batches of this shape, see `Task.init`."""
        return self.model.init(rng, batch.features, batch.mask)

    def loss(
        self, params: Params, batch: Batch, rng: PRNGKeyArray, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """The sum of BMN's three losses (boundaries, regression, classification), and each by name, see `bmn_loss`."""
        output: Any = self.model.apply(params, batch.features, batch.mask)
        return bmn_loss(
            output,
            batch.segments,
            batch.segment_mask,
            batch.mask,
            rng=rng if self.random_negatives else None,
            regression_weight=self.regression_weight,
            region=self.region,
            overlapping_negatives=self.overlapping_negatives,
        )

    def predict(self, params: Params, batch: Batch) -> Detections:
        """The best proposals [B, `proposals`] of every row after soft-NMS, in snippet units."""
        outputs = self.forward(params, batch)
        return marked(self.decode(outputs, batch), self.decoded_from(outputs))

    def forward(self, params: Params, batch: Batch) -> BMNOutput:
        """Logits of the boundaries [B, T] and of the maps [B, T, D]."""
        output: Any = self.model.apply(params, batch.features, batch.mask)
        return output

    def fuse_outputs(self, outputs: Sequence[BMNOutput], weights: Array) -> BMNOutput:
        """Boundary probabilities and confidence maps averaged over models, on the grid of the first one, as logits."""
        first, t, d = outputs[0], outputs[0].start.shape[1], outputs[0].regression.shape[2]

        def line(name: str) -> Array:
            return mean_of_logits([along(getattr(o, name), t) for o in outputs], weights)

        def grid(name: str) -> Array:
            maps = [durations(along(getattr(o, name), t), d, (o.start.shape[1], t)) for o in outputs]
            return mean_of_logits(maps, weights)

        return BMNOutput(line("start"), line("end"), grid("regression"), grid("classification"), first.valid)

    def alike(self, snippets: int) -> dict[str, Any]:
        """Nothing has to agree: boundaries and maps of other grids are interpolated."""
        return {}

    def decode(self, output: BMNOutput, batch: Batch) -> Detections:
        """Scores all cells of the map whose ends are candidate boundaries; soft-NMS keeps the best.

        The score is start x end x classification^a x regression with a = `classification_power`. The start probability
        is read at the cell's first snippet t, the end probability at its last one, t + d.

        Args:
          output: logits of the boundaries [B, T] and of the maps [B, T, D].
          batch: its masks and durations are read.

        Returns:
          Proposals [B, `proposals`] in snippet units, cut to the recording, with label -1.
        """
        _, t, d = output.regression.shape
        start, end = jax.nn.sigmoid(output.start), jax.nn.sigmoid(output.end)
        first = jnp.arange(t)[None, :] == 0
        last = jnp.arange(t)[None, :] == (jnp.sum(batch.mask, axis=1, dtype=jnp.int32) - 1)[:, None]
        start_ok = candidate_boundaries(start, batch.mask) | (first & batch.mask)
        end_ok = candidate_boundaries(end, batch.mask) | (last & batch.mask)

        reach = np.arange(t)[:, None] + np.arange(d)[None, :]  # [T, D] index of a cell's last snippet

        def at_end(x: Array) -> Array:
            return jnp.pad(x, ((0, 0), (0, d)))[:, reach]

        score = (
            start[:, :, None]
            * at_end(end)
            * jax.nn.sigmoid(output.classification) ** self.classification_power
            * jax.nn.sigmoid(output.regression)
        )
        allowed = output.valid & start_ok[:, :, None] & at_end(end_ok)
        b = score.shape[0]
        cells = jnp.broadcast_to(jnp.asarray(cell_segments(t, d))[None], (b, t, d, 2)).reshape(b, -1, 2)
        # The last snippet of a recording may be cut short by its end.
        cells = jnp.minimum(cells, batch.duration[:, None, None])
        found = Detections(
            segments=cells,
            labels=jnp.full((b, t * d), -1, jnp.int32),
            scores=score.reshape(b, -1),
            mask=allowed.reshape(b, -1),
        )
        found = top_k(found, self.candidates)
        return self._nms(found, batch.duration, self.proposals)

    def merge(self, detections: Detections) -> Detections:
        """Soft-NMS over the windows of a recording; nothing is dropped, overlapping proposals lose score."""
        whole = jnp.max(jnp.where(detections.mask, detections.segments[..., 1], 0.0), axis=1)
        return self._nms(detections, whole, detections.scores.shape[-1])

    def _nms(self, found: Detections, duration: Array, kept: int) -> Detections:
        low, high = self.nms_threshold
        relative = width(found.segments) / jnp.maximum(duration, 1e-6)[:, None]
        return soft_nms(found, sigma=self.nms_sigma, threshold=low + (high - low) * relative, top_k=kept)
