"""BMN and TCANet as one task: proposals and their refinement trained together, from one encoder."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from tal_jax.losses.bmn import bmn_loss
from tal_jax.models.bmn import BMNOutput
from tal_jax.models.joint import Joint, JointOutput
from tal_jax.tasks.bmn import BMNTask
from tal_jax.tasks.finite import marked
from tal_jax.tasks.task import DataFacts, Params, Settings, Task
from tal_jax.tasks.tcanet import TCANetTask, jitter
from tal_jax.types import Array, Batch, Detections


@dataclasses.dataclass(frozen=True)
class JointTask(Task):
    """BMN and TCANet over one encoder; the loss is `bmn_weight` x BMN's + TCANet's.

    TCANet refines the proposals that BMN picks in the same step.

    `bmn` and `tcanet` are here for their losses and their decoding; the network that is trained is `model` alone.
    """

    left_open: ClassVar[Mapping[str, Any]] = {"bmn": BMNTask.left_open}

    model: Joint
    bmn: BMNTask
    tcanet: TCANetTask
    bmn_weight: float = 1.0

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], options: Mapping[str, Any], settings: Settings, facts: DataFacts
    ) -> Self:
        """Both networks and their tasks, each from its own part of the section; BMN's grid is `pool` times coarser.

        Raises:
          ValueError: a value that does not fit, or classes from elsewhere than TCANet's head.
        """
        pool = model.get("pool", 1)
        if not isinstance(pool, int) or pool < 1:
            raise ValueError(f"model.pool is a whole number from 1 on, not {pool!r}")
        coarse = dataclasses.replace(facts, scale=facts.scale * pool)
        parts: dict[str, Any] = {}
        for name, kind, own in (("bmn", BMNTask, coarse), ("tcanet", TCANetTask, facts)):
            try:
                parts[name] = kind.from_config(model.get(name, {}), options.get(name, {}), settings, own)
            except (ValueError, TypeError) as e:
                raise ValueError(f"{name}: {e}") from e
        if parts["tcanet"].classes != "head":
            raise ValueError("options.tcanet.classes: classes of a joint stage are those of its head")
        networks = Joint(**{name: part.model for name, part in parts.items()}, pool=pool)
        return cls(model=networks, **{**options, **parts})

    def without_noise(self) -> Self:
        """Without dropout, and TCANet's proposals stay where BMN put them."""
        tcanet = self.tcanet.without_noise()
        return dataclasses.replace(super().without_noise(), bmn=self.bmn.without_noise(), tcanet=tcanet)

    def init(self, rng: PRNGKeyArray, batch: Batch) -> Params:
        """Parameters for batches of this shape, see `Task.init`."""
        return self.model.init(rng, batch.features, batch.mask, batch.duration, self._pick(batch), train=False)

    def loss(
        self, params: Params, batch: Batch, rng: PRNGKeyArray, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """The total and its parts by name, BMN's with `bmn_` before them."""
        noise, dropout, negatives, cells = jax.random.split(rng, 4)
        pick = self._pick(batch, noise if self.tcanet.jitter else None)
        output: Any = self.model.apply(
            params, batch.features, batch.mask, batch.duration, pick, train=True, rngs={"dropout": dropout}
        )
        refining, parts = self.tcanet.loss_of(output.tcanet, self._proposed(output, batch), negatives)
        coarse = self._coarse(batch, output)
        proposing, more = bmn_loss(
            output.bmn,
            coarse.segments,
            coarse.segment_mask,
            coarse.mask,
            rng=cells if self.bmn.random_negatives else None,
            regression_weight=self.bmn.regression_weight,
            region=self.bmn.region,
            overlapping_negatives=self.bmn.overlapping_negatives,
        )
        return refining + self.bmn_weight * proposing, {**parts, **{f"bmn_{k}": v for k, v in more.items()}}

    def forward(self, params: Params, batch: Batch) -> JointOutput:
        """The outputs of both networks, and the proposals [B, P] that the one picked for the other."""
        output: Any = self.model.apply(
            params, batch.features, batch.mask, batch.duration, self._pick(batch), train=False
        )
        return output

    def predict(self, params: Params, batch: Batch) -> Detections:
        """Scored and labelled segments [B, P] in snippet units, after soft-NMS."""
        output = self.forward(params, batch)
        return marked(self.tcanet.decode(output.tcanet, self._proposed(output, batch)), self.decoded_from(output))

    def merge(self, detections: Detections) -> Detections:
        """TCANet's soft-NMS over the windows of a recording."""
        return self.tcanet.merge(detections)

    def _pick(self, batch: Batch, noise: PRNGKeyArray | None = None) -> Any:
        """BMN's decoding on the coarse grid; with noise, the picked proposals move as TCANet's jitter says."""

        def pick(output: BMNOutput, mask: Array, duration: Array) -> Detections:
            found = self.bmn.decode(output, dataclasses.replace(batch, mask=mask, duration=duration))
            if noise is None:
                return found
            return dataclasses.replace(found, segments=jitter(found.segments, duration, self.tcanet.jitter, noise))

        return pick

    def _coarse(self, batch: Batch, output: JointOutput) -> Batch:
        """Segments and mask of the grid that BMN sees."""
        coarse = output.bmn.valid[:, :, 0]  # a cell of the shortest duration lies where its snippet is real
        return dataclasses.replace(batch, segments=batch.segments / self.model.pool, mask=coarse)

    def _proposed(self, output: JointOutput, batch: Batch) -> Batch:
        found = output.proposals
        return dataclasses.replace(
            batch,
            proposals=found.segments,
            proposal_scores=jnp.where(found.mask, found.scores, 0.0),
            proposal_mask=found.mask,
        )
