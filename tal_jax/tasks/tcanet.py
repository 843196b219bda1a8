"""TCANet as a task: the losses of its refinements, and detections from its regressors and heads."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from tal_jax.losses.tcanet import snippet_class_loss, stage_loss
from tal_jax.models.tcanet import TCANet, TCANetOutput
from tal_jax.ops.nms import soft_nms, top_k
from tal_jax.segments import match
from tal_jax.tasks.finite import marked
from tal_jax.tasks.fusion import mean, mean_of_logits
from tal_jax.tasks.task import CLASS_SCORES, PROPOSALS, DataFacts, Params, Settings, Task
from tal_jax.types import Array, Batch, Detections


def jitter(proposals: Array, limit: Array, amount: float, rng: PRNGKeyArray) -> Array:
    """Moves both ends of proposals at random, uniformly and each by itself.

    A proposal network fits its training recordings better than new ones; the noise gives the regressors in training
    the errors that they will meet.

    Args:
      proposals: [B, P, 2] in snippet units.
      limit: [B], the durations of the rows in snippet units.
      amount: the farthest that an end moves, as a fraction of the proposal's width.
      rng: key of the draws.

    Returns:
      [B, P, 2] within [0, limit].
    """
    w = proposals[..., 1:] - proposals[..., :1]
    noise = jax.random.uniform(rng, proposals.shape, minval=-amount, maxval=amount)
    return jnp.clip(proposals + noise * w, 0.0, limit[:, None, None])


@dataclasses.dataclass(frozen=True)
class TCANetTask(Task):
    """TCANet (Qing et al. 2021, arXiv:2103.13141) as a task: it refines proposals and gives them classes.

    classes="head": every proposal gets the scores of the segment-level class head. "video": video-level class
    probabilities (`Batch.class_scores`, from a file or from a classifier stage), the best `video_classes` of them times
    all proposals. "both": the product of the two.
    """

    accepts: ClassVar = (PROPOSALS, CLASS_SCORES)
    fusable: ClassVar = True

    model: TCANet
    thresholds: tuple[float, ...] = (0.5, 0.6, 0.7)  # IoU threshold of each refinement's regression
    match_once: bool = False  # all refinements aim at the segment that the given proposal overlaps most
    random_negatives: bool = False  # draw the confidence's negatives at random; False: their expectation
    jitter: float = 0.0  # noise on training proposals, as a fraction of their width
    regression_beta: float = 1.0
    ends_weight: float = 1.0
    center_weight: float = 1.0
    confidence_weight: float = 1.0
    class_weight: float = 1.0
    snippet_weight: float = 1.0  # of the snippet head's loss, where the model has one
    class_target: str = "iou"
    class_threshold: float = 0.5
    classes: str = "head"
    video_classes: int = 3
    fuse: str = "last"  # segments of the "last" refinement, of "all", or of "none": the proposals themselves
    proposal_power: float = 1.0  # power of the proposals' own scores
    confidence_stages: tuple[int, ...] = (1,)  # refinements whose predicted IoUs multiply the score
    candidates: int = 400  # detections that enter soft-NMS
    detections: int = 200  # that soft-NMS keeps
    nms_method: str = "gaussian"
    nms_sigma: float = 0.4
    nms_power: float = 2.5
    nms_threshold: float = 0.0

    def __post_init__(self):
        """Checks what the types do not."""
        if len(self.thresholds) != self.model.stages:
            raise ValueError(f"thresholds has {len(self.thresholds)} entries for {self.model.stages} stages")
        if self.classes not in ("head", "video", "both"):
            raise ValueError(f"classes is 'head', 'video' or 'both', not {self.classes!r}")
        if self.classes != "video" and not self.model.num_classes:
            raise ValueError(f"classes={self.classes!r} needs the class head: model.num_classes is 0")
        if self.fuse not in ("last", "all", "none"):
            raise ValueError(f"fuse is 'last', 'all' or 'none', not {self.fuse!r}")
        if max(self.confidence_stages, default=0) >= self.model.stages:
            raise ValueError(f"confidence_stages {self.confidence_stages} names a stage beyond {self.model.stages - 1}")

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Proposals, and class scores where classes are not those of its own head alone."""
        return (PROPOSALS,) if options["classes"] == "head" else (PROPOSALS, CLASS_SCORES)

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], options: Mapping[str, Any], settings: Settings, facts: DataFacts
    ) -> Self:
        """As `Task.from_config`; there is no class head where classes="video" takes the classes from elsewhere."""
        if options.get("classes") == "video":
            model = {"num_classes": 0, **model}
        return super().from_config(model, options, settings, facts)

    def without_noise(self) -> Self:
        """Without dropout, and proposals stay where they are."""
        return dataclasses.replace(super().without_noise(), jitter=0.0)

    def init(self, rng: PRNGKeyArray, batch: Batch) -> Params:
        """Parameters for batches of this shape, see `Task.init`."""
        return self.model.init(rng, batch.features, batch.mask, batch.duration, batch.proposals, train=False)

    def loss(
        self, params: Params, batch: Batch, rng: PRNGKeyArray, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """The losses of all refinements, summed with their weights; metrics are means over refinements."""
        noise, dropout, negatives = jax.random.split(rng, 3)
        proposals = batch.proposals
        if self.jitter:
            proposals = jitter(proposals, batch.duration, self.jitter, noise)
        output: Any = self.model.apply(
            params, batch.features, batch.mask, batch.duration, proposals, train=True, rngs={"dropout": dropout}
        )
        return self.loss_of(output, batch, negatives)

    def loss_of(self, output: TCANetOutput, batch: Batch, rng: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        """The loss of a model's output.

        Args:
          output: what the refinements say of their proposals, see `TCANetOutput`.
          batch: its ground truth and its masks are read; its proposals may be others than those of the output.
          rng: key of the negatives, where they are drawn at random.

        Returns:
          The loss, a scalar, and its parts by name, means over the refinements that have them.
        """
        proposals = output.stages[0].proposals
        weights = {
            "ends": self.ends_weight * float(self.model.frame_level),
            "center": self.center_weight * float(self.model.segment_level),
            "confidence": self.confidence_weight,
            "classes": self.class_weight,
        }
        total, metrics = jnp.zeros(()), {}
        if output.snippet_logits.shape[-1]:
            metrics["snippets"] = snippet_class_loss(
                output.snippet_logits, batch.segments, batch.segment_labels, batch.segment_mask, batch.mask
            )
            total += self.snippet_weight * metrics["snippets"]
        matched = None
        if self.match_once and batch.segments.shape[1]:
            _, matched = match(proposals, batch.segments, batch.segment_mask)
        for i, (stage, threshold) in enumerate(zip(output.stages, self.thresholds, strict=True)):
            losses = stage_loss(
                stage,
                batch.segments,
                batch.segment_labels,
                batch.segment_mask,
                batch.proposal_mask,
                threshold=threshold,
                rng=jax.random.fold_in(rng, i) if self.random_negatives else None,
                regression_beta=self.regression_beta,
                class_target=self.class_target,
                class_threshold=self.class_threshold,
                matched=matched,
            )
            total += sum(weights[name] * value for name, value in losses.items())
            for name, value in losses.items():
                metrics[name] = metrics.get(name, jnp.zeros(())) + value / len(output.stages)
        return total, metrics

    def predict(self, params: Params, batch: Batch) -> Detections:
        """Scored and labelled segments [B, `detections`] in snippet units, after soft-NMS."""
        outputs = self.forward(params, batch)
        return marked(self.decode(outputs, batch), self.decoded_from(outputs))

    def forward(self, params: Params, batch: Batch) -> TCANetOutput:
        """What every refinement says about the proposals of the batch."""
        output: Any = self.model.apply(params, batch.features, batch.mask, batch.duration, batch.proposals, train=False)
        return output

    def fuse_outputs(self, outputs: Sequence[TCANetOutput], weights: Array) -> TCANetOutput:
        """Segments, confidences and class scores of the same proposals averaged over models, for each refinement."""
        t = outputs[0].snippet_logits.shape[1]
        scales = [t / o.snippet_logits.shape[1] for o in outputs]
        stages = []
        for same in zip(*(o.stages for o in outputs), strict=True):
            stages.append(
                dataclasses.replace(
                    same[0],
                    segments=mean([s.segments * scale for s, scale in zip(same, scales, strict=True)], weights),
                    iou_logit=mean_of_logits([s.iou_logit for s in same], weights),
                    class_logits=mean_of_logits([s.class_logits for s in same], weights),
                )
            )
        return dataclasses.replace(outputs[0], stages=tuple(stages))

    def alike(self, snippets: int) -> dict[str, Any]:
        """The models have to agree in where classes come from."""
        return {"classes": self.classes}

    def decode(self, output: TCANetOutput, batch: Batch) -> Detections:
        """Scores refined segments for every class and keeps the best after soft-NMS class by class.

        The score is proposal score^a x predicted IoUs of the refinements in `confidence_stages` x class score, with
        a = `proposal_power`.

        Args:
          output: what the refinements say of the batch's P proposals.
          batch: its proposal scores and masks are read, and its class scores where classes come from outside.

        Returns:
          Detections [B, `detections`] in snippet units, best first.
        """
        outputs = output.stages
        chosen = [o.segments for o in outputs] if self.fuse == "all" else [outputs[-1].segments]
        if self.fuse == "none":
            chosen = [outputs[0].proposals]
        segments = jnp.concatenate(chosen, axis=1)  # [B, P', 2]
        score = batch.proposal_scores**self.proposal_power
        for i in self.confidence_stages:
            score = score * jax.nn.sigmoid(outputs[i].iou_logit)
        b, p = score.shape
        k = batch.labels.shape[-1]
        class_scores = jnp.ones((b, p, k))
        if self.classes != "video":
            class_scores *= sum(jax.nn.sigmoid(o.class_logits) for o in outputs) / len(outputs)
        if self.classes != "head":
            best, _ = jax.lax.top_k(batch.class_scores, min(self.video_classes, k))
            video = jnp.where(batch.class_scores >= best[:, -1:], batch.class_scores, 0.0)
            class_scores *= video[:, None, :]
        score = score[..., None] * class_scores  # [B, P, K]
        real = batch.proposal_mask[..., None] & (class_scores > 0)

        copies = len(chosen)
        total = copies * p * k
        found = Detections(
            segments=jnp.broadcast_to(segments[:, :, None], (b, copies * p, k, 2)).reshape(b, total, 2),
            labels=jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32)[None, None], (b, copies * p, k)).reshape(b, total),
            scores=jnp.tile(score, (1, copies, 1)).reshape(b, total),
            mask=jnp.tile(real, (1, copies, 1)).reshape(b, total),
        )
        return self._nms(top_k(found, self.candidates), self.detections)

    def merge(self, detections: Detections) -> Detections:
        """Soft-NMS over the windows of a recording; nothing is dropped, overlapping detections lose score."""
        return self._nms(detections, detections.scores.shape[-1])

    def _nms(self, found: Detections, kept: int) -> Detections:
        return soft_nms(
            found,
            method=self.nms_method,
            sigma=self.nms_sigma,
            power=self.nms_power,
            threshold=self.nms_threshold,
            top_k=kept,
        )
