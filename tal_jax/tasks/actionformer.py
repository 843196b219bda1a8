"""ActionFormer and its kin as a task: labels and losses at the points of a pyramid, and detections from them."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from tal_jax.losses.actionformer import label_points, pyramid_loss, running_positives
from tal_jax.models.actionformer import ActionFormer, PyramidOutput
from tal_jax.tasks.finite import marked
from tal_jax.tasks.fusion import mean, mean_of_logits
from tal_jax.tasks.pyramid_decoding import Decoding, decode_points, suppressed, with_video_classes
from tal_jax.tasks.task import CLASS_SCORES, PROPOSALS, STATISTICS, DataFacts, Params, Settings, Task
from tal_jax.types import Array, Batch, Detections

REACH = 4.0  # snippets that an action reaches from a point of the finest level, at most; doubled by every level
POSITIVES = "positives"


@dataclasses.dataclass(frozen=True)
class ActionFormerTask(Task):
    """One-stage detection (Zhang et al. 2022, arXiv:2202.07925); with other options TriDet or TemporalMaxer.

    classes="head": the network's own. "video": it is class-agnostic, and video-level class probabilities
    (`Batch.class_scores`, from a file or from a classifier stage) give the best `video_classes` to every detection.
    """

    accepts: ClassVar[tuple[str, ...]] = (CLASS_SCORES,)
    fusable: ClassVar = True
    from_data: ClassVar = ("num_classes", "stream_widths")

    model: ActionFormer
    radius: float = 1.5  # of the centre in which points learn an action, in their strides
    ranges: tuple[tuple[float, float], ...] = ()  # reach of each level in snippets; (): 0-4, 4-8, 8-16, .. without end
    offset: float = 0.5  # where a snippet's centre lies, in snippets after its start
    normalizer: float = 100.0  # positive points of a batch, as the running mean begins
    normalizer_momentum: float = 0.9
    smoothing: float = 0.0
    regression_weight: float = 1.0
    iou_power: float = 0.0  # TriDet: the class loss of positives times their IoU to this power
    classes: str = "head"
    video_classes: int = 2
    decoding: Decoding = dataclasses.field(default_factory=Decoding)

    def __post_init__(self):
        """Checks what the types do not."""
        if self.classes not in ("head", "video"):
            raise ValueError(f"classes is 'head' or 'video', not {self.classes!r}")
        if self.ranges and len(self.ranges) != self.model.levels:
            raise ValueError(f"ranges has {len(self.ranges)} entries for {self.model.levels} levels")
        if self.classes == "video" and self.model.num_classes != 1:
            raise ValueError(f"classes='video' is for model.num_classes=1, not {self.model.num_classes}")

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Class scores where classes are not its own."""
        return (CLASS_SCORES,) if options["classes"] == "video" else ()

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], options: Mapping[str, Any], settings: Settings, facts: DataFacts
    ) -> Self:
        """As `Task.from_config`; there is one class where classes="video" takes them from elsewhere."""
        if options.get("classes") == "video":
            model = {"num_classes": 1, **model}
        if model.get("stream_hidden") and not model.get("stream_widths"):
            model = {**model, "stream_widths": facts.stream_widths}
        decoding = Decoding(**options.get("decoding", {}))
        return super().from_config(model, {**options, "decoding": decoding}, settings, facts)

    def without_noise(self) -> Self:
        """Without dropout, and no path is dropped."""
        task = super().without_noise()
        return dataclasses.replace(task, model=task.model.clone(path_dropout=0.0))

    @property
    def level_ranges(self) -> tuple[tuple[float, float], ...]:
        """The reach of each level in snippets."""
        if self.ranges:
            return self.ranges
        edges = [0.0, *(REACH * 2.0**level for level in range(self.model.levels - 1)), float("inf")]
        return tuple(itertools.pairwise(edges))

    def init(self, rng: PRNGKeyArray, batch: Batch) -> Params:
        """Parameters for batches of this shape, and the running number of positive points, see `Task.init`."""
        variables = self.model.init(rng, batch.features, batch.mask, train=False)
        return {**variables, STATISTICS: {POSITIVES: jnp.float32(self.normalizer)}}

    def loss(
        self, params: Params, batch: Batch, rng: PRNGKeyArray, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """Focal loss of classes and DIoU loss of distances over the running number of positives, see `pyramid_loss`."""
        output: Any = self.model.apply(
            {"params": params["params"]}, batch.features, batch.mask, train=True, rngs={"dropout": rng}
        )
        labels = label_points(
            self.model.points(batch.features.shape[1]),
            self.level_ranges,
            batch.segments - self.offset,
            jnp.zeros_like(batch.segment_labels) if self.classes == "video" else batch.segment_labels,
            batch.segment_mask,
            self.model.num_classes,
            self.radius,
        )
        count = running_positives(params[STATISTICS][POSITIVES], labels, output.mask, self.normalizer_momentum)
        loss, metrics = pyramid_loss(
            output.class_logits,
            output.distances,
            output.mask,
            labels,
            count,
            smoothing=self.smoothing,
            regression_weight=self.regression_weight,
            iou_power=self.iou_power,
        )
        changed: dict[str, Any] = {**metrics, STATISTICS: {POSITIVES: count}}
        return loss, changed

    def predict(self, params: Params, batch: Batch) -> Detections:
        """The best detections [B, P] of every row after soft-NMS, in snippet units and cut to the recording."""
        outputs = self.forward(params, batch)
        return marked(self.decode(outputs, batch), self.decoded_from(outputs))

    def forward(self, params: Params, batch: Batch) -> PyramidOutput:
        """Classes and distances at all points."""
        output: Any = self.model.apply({"params": params["params"]}, batch.features, batch.mask, train=False)
        return output

    def fuse_outputs(self, outputs: Sequence[PyramidOutput], weights: Array) -> PyramidOutput:
        """Probabilities of classes and distances averaged over models with the same points."""
        return dataclasses.replace(
            outputs[0],
            class_logits=mean_of_logits([o.class_logits for o in outputs], weights),
            distances=mean([o.distances for o in outputs], weights),
        )

    def alike(self, snippets: int) -> dict[str, Any]:
        """The models have to agree in their points and in where classes come from."""
        model = self.model
        return {"points": (model.length(snippets), model.levels), "bins": model.bins > 0, "classes": self.classes}

    def decode(self, output: PyramidOutput, batch: Batch) -> Detections:
        """Detections from the points: see `decode_points`, and `with_video_classes` where classes are the recording's.

        Args:
          output: what the network says of the batch's rows.
          batch: its durations are read, and its class scores where classes come from outside.

        Returns:
          [B, P] in snippet units, best first.
        """
        points = self.model.points(batch.features.shape[1])
        found = decode_points(output, points, self.offset, self.decoding)
        ends = jnp.clip(found.segments, 0.0, batch.duration[:, None, None])
        found = dataclasses.replace(found, segments=ends, mask=found.mask & (ends[..., 1] > ends[..., 0]))
        if self.classes == "video":
            found = with_video_classes(found, batch.class_scores, self.video_classes, self.decoding.detections)
        return found

    def merge(self, detections: Detections) -> Detections:
        """Soft-NMS over the windows of a recording; nothing is dropped, overlapping detections lose score."""
        together = dataclasses.replace(self.decoding, voting=0.0, least_score=0.0)
        return suppressed(detections, together, detections.scores.shape[-1])


@dataclasses.dataclass(frozen=True)
class PyramidProposalsTask(ActionFormerTask):
    """The same as a stage that makes proposals for another: class-agnostic segments of label -1."""

    makes: ClassVar = PROPOSALS
    measured_by: ClassVar = "proposals"
    accepts: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Nothing."""
        return ()

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], options: Mapping[str, Any], settings: Settings, facts: DataFacts
    ) -> Self:
        """As `Task.from_config`, for one class."""
        return super().from_config({"num_classes": 1, **model}, options, settings, facts)

    def loss(
        self, params: Params, batch: Batch, rng: PRNGKeyArray, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """As of detections, with one class for all segments."""
        one = dataclasses.replace(batch, segment_labels=jnp.zeros_like(batch.segment_labels))
        return super().loss(params, one, rng, progress)

    def decode(self, output: PyramidOutput, batch: Batch) -> Detections:
        """Proposals [B, `decoding.detections`], best first."""
        found = super().decode(output, batch)
        return dataclasses.replace(found, labels=jnp.full_like(found.labels, -1))
