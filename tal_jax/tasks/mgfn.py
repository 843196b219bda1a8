"""MGFN as a task: localization in recordings of which only the classes are known."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import PRNGKeyArray

from tal_jax import segments as geometry
from tal_jax.errors import InputError
from tal_jax.losses.elementwise import sigmoid_cross_entropy
from tal_jax.losses.mmd import mmd
from tal_jax.losses.oic import oic_loss
from tal_jax.losses.reduction import masked_mean
from tal_jax.models.mgfn import MGFN, ClassifierOutput, MGFNOutput, activate, scaled
from tal_jax.tasks.cas_decoding import Decoding, localize, merge_windows, select_classes
from tal_jax.tasks.finite import marked
from tal_jax.tasks.fusion import along, mean, mean_of_logits
from tal_jax.tasks.task import CLIP_FEATURES, DataFacts, Params, Settings, Task, build_model
from tal_jax.types import Array, Batch, Detections


@dataclasses.dataclass(frozen=True)
class BranchSettings(Settings):
    """What the section of a branch says beside its model and its options."""

    fusion: str = "early"  # streams concatenated; or "late": a cascade for each, sequences averaged
    regressor: bool = False  # of boundaries


@dataclasses.dataclass(frozen=True)
class MGFNSettings(BranchSettings):
    """The settings of the branch for recordings."""

    splice: float = 0.0  # share of training recordings that clips are spliced into; not in the report


@dataclasses.dataclass(frozen=True)
class MGFNTask(Task):
    """MGFN as a task: labels in, segments out.

    Loss: sigmoid cross-entropy of every branch of both passes against the recording's labels, mean over branches, sum
    over passes; + mmd_weight x MMD between the pooled features of the recordings and those of the clips, where the
    batch carries any; + oic_weight x OIC of the regressed segments on the cascaded activation sequence, where the
    model regresses. The last two grow linearly from 0 between `ramp_start` and `ramp_end` of the training.
    """

    accepts: ClassVar[tuple[str, ...]] = (CLIP_FEATURES,)
    weak: ClassVar = True
    measured_by: ClassVar = "labels"
    any_length: ClassVar = True
    fusable: ClassVar = True
    tunable: ClassVar = True
    splices: ClassVar = True
    from_data: ClassVar[tuple[str, ...]] = ("num_classes", "streams")
    settings: ClassVar[type[Settings]] = MGFNSettings

    model: MGFN
    decoding: Decoding = dataclasses.field(default_factory=Decoding)
    mmd_weight: float = 0.0
    oic_weight: float = 0.0
    ramp_start: float = 0.2  # fraction of the training
    ramp_end: float = 0.5
    oic_updates_cas: bool = False  # let the OIC loss move the activation sequence too, not only the boundaries
    inflation: float = 0.25  # gamma of the OIC loss
    min_activation: float = 0.1  # of the positions that take part in it
    max_contrast: float = 0.7  # segments that score worse are dropped, in training and in detection
    segments: str = "auto"  # "regressed", "thresholded", "both", or "auto": regressed where the model has a regressor
    thresholds: int = 9
    candidates: int = 200
    detections: int = 100
    nms_method: str = "gaussian"

    def __post_init__(self) -> None:
        """Checks what the types do not."""
        if self.segments not in ("auto", "regressed", "thresholded", "both"):
            raise ValueError(f"segments is 'auto', 'regressed', 'thresholded' or 'both', not {self.segments!r}")
        if self.segments in ("regressed", "both") and not self.model.anchors:
            raise ValueError(f"segments={self.segments!r} needs a boundary regressor: give model.anchors")
        if not 0 <= self.ramp_start < self.ramp_end:
            raise ValueError(f"ramp_start {self.ramp_start} is to be below ramp_end {self.ramp_end}")

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Clip features, where the loss compares them with the features of the recordings."""
        return (CLIP_FEATURES,) if options["mmd_weight"] else ()

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], options: Mapping[str, Any], settings: Settings, facts: DataFacts
    ) -> Self:
        """As `Task.from_config`, with streams and anchors from the data.

        Anchors that are left open are powers of two from 2 snippets to half the frame: a guess that looks at no
        annotation.
        """
        assert isinstance(settings, BranchSettings)
        if settings.fusion not in ("early", "late"):
            raise ValueError(f"fusion is 'early' or 'late', not {settings.fusion!r}")
        fields = dict(model)
        if settings.fusion == "late":
            fields["streams"] = facts.stream_widths
        if not settings.regressor:
            fields["anchors"] = ()
        elif not fields.get("anchors"):
            fields["anchors"] = tuple(2.0**i for i in range(1, max(2, int(math.log2(facts.snippets)))))
        decoding = Decoding(**options.get("decoding", {}))
        return cls(model=build_model(cls, fields, facts), **{**options, "decoding": decoding})

    def init(self, rng: PRNGKeyArray, batch: Batch) -> Params:
        """Parameters for batches of this shape, see `Task.init`."""
        return self.model.init(rng, batch.features, batch.mask, batch.labels, train=False)

    def loss(
        self, params: Params, batch: Batch, rng: PRNGKeyArray, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """The total and its parts by name; `progress` is the fraction of the training that is done.

        Raises:
          InputError: the clip features come from a model with other branches.
        """
        output: Any = self.model.apply(
            params, batch.features, batch.mask, batch.labels, train=True, rngs={"dropout": rng}
        )
        real = jnp.any(batch.mask, axis=1)
        metrics = {}
        for i, stage in enumerate(output.stages):
            terms = sigmoid_cross_entropy(stage.logits, jnp.broadcast_to(batch.labels, stage.logits.shape))
            metrics[f"classes{i + 1}"] = masked_mean(terms, jnp.broadcast_to(real[None, :, None], terms.shape))
        total = sum(metrics.values(), jnp.zeros(()))
        ramp = jnp.clip((progress - self.ramp_start) / (self.ramp_end - self.ramp_start), 0.0, 1.0)
        if self.mmd_weight and batch.clips is not None and batch.clips.clip_features is not None:
            found = pooled_features(output.stages, batch.labels)  # [B, R, D]
            given = _like(batch.clips.clip_features, found)
            clip_real = jnp.any(batch.clips.mask, axis=1)
            distances = jax.vmap(mmd, in_axes=(1, 1, None, None))(found, given, real, clip_real)
            metrics["mmd"] = jnp.mean(distances)
            total += self.mmd_weight * ramp * metrics["mmd"]
        if self.oic_weight and self.model.anchors:
            cas = scaled(activate(output.sequence, self.model.activation), batch.mask)
            metrics["oic"] = oic_loss(
                cas if self.oic_updates_cas else lax.stop_gradient(cas),
                self._regressed(output),
                batch.mask,
                batch.labels,
                inflation=self.inflation,
                min_activation=self.min_activation,
                max_contrast=self.max_contrast,
            )
            total += self.oic_weight * ramp * metrics["oic"]
        return total, metrics

    def forward(self, params: Params, batch: Batch, labels: Array | None = None) -> tuple[MGFNOutput, Array]:
        """Everything before decoding: the model's output, and class probabilities [B, K].

        What the first pass discovered of the classes `labels` [B, K] is erased for the second pass; None takes the
        classes that the first pass predicts.
        """
        output: Any = self.model.apply(params, batch.features, batch.mask, labels, train=False)
        return output, jax.nn.sigmoid(jnp.mean(output.stages[0].logits, axis=0))

    def predict(self, params: Params, batch: Batch) -> Detections:
        """Detections [B, `detections`] in snippet units, after NMS."""
        outputs = self.forward(params, batch)
        return marked(self.decode(outputs, batch), self.decoded_from(outputs))

    def decoded_from(self, outputs: tuple[MGFNOutput, Array]) -> Any:
        """The sequence, its offsets and the logits of both passes, which have an axis before their rows."""
        output, probabilities = outputs
        logits = [jnp.moveaxis(stage.logits, 0, 1) for stage in output.stages]
        return output.sequence, output.offsets, probabilities, logits

    def fuse_outputs(self, outputs: Sequence[tuple[MGFNOutput, Array]], weights: Array) -> tuple[MGFNOutput, Array]:
        """Activation sequences [B, T, K], class probabilities [B, K] and offsets [B, T, M, 2] averaged over models.

        Offsets are in units of the anchors, which have to be equally long in seconds.
        """
        first, t = outputs[0][0], outputs[0][0].sequence.shape[1]
        sequences = [along(o.sequence, t) for o, _ in outputs]
        sigmoid = self.model.activation == "sigmoid"
        sequence = mean_of_logits(sequences, weights) if sigmoid else mean(sequences, weights)
        offsets = mean([along(o.offsets, t) for o, _ in outputs], weights)
        return dataclasses.replace(first, sequence=sequence, offsets=offsets), mean([p for _, p in outputs], weights)

    def alike(self, snippets: int) -> dict[str, Any]:
        """The lengths of the anchors have to agree, as fractions of the frame."""
        return {"anchors": tuple(width / snippets for width in self.model.anchors)}

    def class_probabilities(self, params: Params, batch: Batch) -> Array:
        """Class probabilities [B, K] of the first pass, which sees all features."""
        return self.forward(params, batch)[1]

    def clip_feature_width(self) -> int:
        """D of the pooled features of all branches of both passes of all streams; 0 without the MMD loss."""
        model = self.model
        branches = (1 + model.cascade) * len(model.dilations) * max(len(model.streams), 1)
        return branches * model.branch_hidden if self.mmd_weight else 0

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """As the report's Figure 7 shows them, without what the model does not have.

        "simple": the first branch of the first pass alone (H_0); "multi-dilated": with all of its branches; "second
        stage": what the second pass sees where the first has discovered nothing; "cascade": the higher of both.
        """
        dilated = ("multi-dilated",) if len(self.model.dilations) > 1 else ()
        return ("simple", *dilated, *(("second stage", "cascade") if self.model.cascade else ()))

    def sequences(self, params: Params, batch: Batch) -> tuple[tuple[Array, ...], Array]:
        """Sequences [B, T, K], one for each of `sequence_names`, and [B, K] how likely each class is."""
        model = self.model
        output, probabilities = self.forward(params, batch)
        found = [output.stages[0].sequence]
        if len(model.dilations) > 1:
            first = model.clone(dilations=model.dilations[:1], cascade=False, anchors=())
            simple: Any = first.apply(params, batch.features, batch.mask, None, train=False)
            found.insert(0, simple.sequence)
        if model.cascade:
            found += [output.stages[1].sequence, output.sequence]
        taken = select_classes(probabilities, self.decoding.class_threshold)
        return tuple(activate(x, model.activation) for x in found), jnp.where(taken, probabilities, -1.0)

    def decode(self, outputs: tuple[MGFNOutput, Array], batch: Batch, decoding: Decoding | None = None) -> Detections:
        """Detections [B, `detections`] from outputs; `decoding`, which may be traced, replaces the task's own."""
        output, probabilities = outputs
        segments = self._regressed(output)
        return localize(
            activate(output.sequence, self.model.activation),
            probabilities,
            batch.mask,
            batch.stride,
            segments[:, :, :0] if self.segments == "thresholded" else segments,
            self.decoding if decoding is None else decoding,
            thresholds=self.thresholds,
            max_contrast=self.max_contrast,
            candidates=self.candidates,
            detections=self.detections,
            nms_method=self.nms_method,
            both=self.segments == "both",
        )

    def decoding_fields(self) -> tuple[str, ...]:
        """The fields of `decoding` that are read: without runs there is one threshold, and no weight against runs."""
        unread = set() if self.segments == "both" else {"regressed_weight"}
        if self.model.anchors and self.segments in ("auto", "regressed"):
            unread.add("highest")
        if self.nms_method != "gaussian":
            unread.add("nms_sigma")
        return tuple(f.name for f in dataclasses.fields(Decoding) if f.name not in unread)

    def merge(self, detections: Detections) -> Detections:
        """NMS over the windows of a recording; nothing is dropped, overlapping detections lose score."""
        return merge_windows(detections, method=self.nms_method, sigma=self.decoding.nms_sigma)

    def _regressed(self, output: MGFNOutput) -> Array:
        """Segments [B, T, M, 2]: r_x = t_x + t_w p_x, r_w = t_w exp(p_w) for anchors centred on every snippet."""
        t, m = output.offsets.shape[1:3]
        centre = (jnp.arange(t, dtype=jnp.float32) + 0.5)[:, None]
        half = jnp.asarray(self.model.anchors, jnp.float32).reshape(1, m) / 2
        anchors = jnp.stack([centre - half, centre + half], axis=-1)
        return geometry.decode_center(jnp.broadcast_to(anchors[None], output.offsets.shape), output.offsets)


def _like(clip_features: Array, pooled: Array) -> Array:
    """Clip features [B, S R D] as pooled features are: [B, S R, D]."""
    parts, width = pooled.shape[1:]
    if clip_features.shape[1] != parts * width:
        raise InputError(
            f"clip features: {clip_features.shape[1]} numbers each, but the model has {parts} branches of {width} in "
            "all stages: give the trimmed stage the same model, or another file of clip features"
        )
    return clip_features.reshape(-1, parts, width)


def pooled_features(stages: tuple[ClassifierOutput, ...], labels: Array) -> Array:
    """Pooled features of the classes that are present, mean over these, for every branch of every pass.

    With global average pooling they do not depend on the class and this is the GAP layer's output.

    Args:
      stages: the outputs of the S passes, with pooled features [R, B, K or 1, D] of R branches.
      labels: [B, K], 1 for every class present. A row without any class gets zeros from class-wise pooling.

    Returns:
      [B, S R, D] float32.
    """
    share = labels / jnp.maximum(jnp.sum(labels, axis=-1, keepdims=True), 1.0)
    parts = [
        s.pooled[:, :, 0] if s.pooled.shape[2] == 1 else jnp.einsum("rbkd,bk->rbd", s.pooled, share) for s in stages
    ]
    return jnp.concatenate(parts).transpose(1, 0, 2)
