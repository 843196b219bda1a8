"""MGFN: class activation sequences from recordings' labels, and boundaries regressed on them (report, section 3)."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Float32

from tal_jax.models.convolution import Conv1D, masked
from tal_jax.models.dropout import Dropout
from tal_jax.ops.pooling import mean_weights, top_weights
from tal_jax.types import Array, Scalar

# An anchor moves by up to half its width and shrinks or grows by up to a factor of two: between neighbouring powers
# of two nothing is out of reach. Unbounded offsets run away: a segment over the whole recording has no outer area.
OFFSET_BOUNDS = (0.5, math.log(2.0))


@flax.struct.dataclass
class ClassifierOutput:
    """One stage of classification, with R branches of different dilation."""

    encoded: Float[Array, "B T H"]  # of the base net
    logits: Float32[Array, "R B K"]  # of the recording; with late fusion R counts the branches of all streams
    pooled: Float32[Array, "R B #K D"]  # the pooled features that the fully connected layer sees, for each class
    sequence: Float32[Array, "B T K"]  # the fused localisation sequence H


@flax.struct.dataclass
class MGFNOutput:
    """Everything that losses and decoding read."""

    stages: tuple[ClassifierOutput, ...]
    sequence: Float32[Array, "B T K"]  # the cascaded localisation sequence
    erased: Bool[Array, "streams B T"]  # what the second stage of each stream did not see; False without a cascade
    offsets: Float32[Array, "B T M 2"]  # (p_x, p_w) within OFFSET_BOUNDS; M = 0 without the regressor


class ClassifierFields(nn.Module):
    """What a `DilatedClassifier` is made of, and with it all classifiers of an `MGFN`."""

    num_classes: int
    hidden: int = 512
    branch_hidden: int = 128
    dilations: tuple[int, ...] = (1, 2, 3, 5)  # of H_0, which is 1, and of the n_d dilated branches
    pooling: str = "gap"
    topk_ratio: int = 8
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32


class DilatedClassifier(ClassifierFields):
    """Base net of two convolutions, then one branch per dilation rate: convolution, pooling, fully connected layer.

    The fully connected layer is linear, so the recording's logits are the pooled localisation sequence: the same
    weights applied per snippet and then averaged. pooling="gap" averages over all real snippets, as the report does;
    "topk" over the highest 1 / topk_ratio of them, class by class, which suits recordings that are mostly background.
    """

    @nn.compact
    def __call__(self, features: Float[Array, "B T C"], mask: Bool[Array, "B T"], *, train: bool) -> ClassifierOutput:
        """Logits of recordings and of snippets; train: dropout on, needs a `dropout` rng.

        Raises:
          ValueError: the first dilation is not 1, or `pooling` is unknown.
        """
        if tuple(self.dilations[:1]) != (1,):
            raise ValueError(
                f"dilations {self.dilations}: the first is 1, that of the sequence to which the mean of the dilated "
                "branches' is added"
            )
        x = masked(features.astype(self.dtype), mask)
        for i in range(2):
            x = masked(nn.relu(Conv1D(self.hidden, 3, dtype=self.dtype, name=f"base{i + 1}")(x)), mask)
        dropped = Dropout(self.dropout, deterministic=not train)(x)
        sequences, logits, pooled = [], [], []
        for rate in self.dilations:
            y = nn.relu(Conv1D(self.branch_hidden, 3, dilation=rate, dtype=self.dtype, name=f"branch{rate}")(dropped))
            sequence = nn.Dense(self.num_classes, dtype=self.dtype, name=f"out{rate}")(y).astype(jnp.float32)
            weights = self._weights(sequence, mask)  # [B, T, K or 1]
            sequences.append(sequence)
            logits.append(jnp.sum(weights * sequence, axis=1))
            pooled.append(jnp.einsum("btk,btd->bkd", weights, y.astype(jnp.float32)))
        fused = sequences[0]
        if len(sequences) > 1:  # H = H_0 + (1 / n_d) sum_i H_i
            fused = fused + sum(sequences[1:]) / (len(sequences) - 1)
        return ClassifierOutput(x, jnp.stack(logits), jnp.stack(pooled), masked(fused, mask))

    def _weights(self, sequence: Array, mask: Array) -> Array:
        if self.pooling == "gap":
            return mean_weights(mask)
        if self.pooling == "topk":
            return lax.stop_gradient(top_weights(sequence, mask, self.topk_ratio))
        raise ValueError(f"pooling is 'gap' or 'topk', not {self.pooling!r}")


class Cascade(nn.Module):
    """One stage of classification, or two: the second sees the input without what the first one discovered."""

    stage1: DilatedClassifier
    stage2: DilatedClassifier | None
    erase_threshold: Scalar
    activation: str

    def __call__(
        self,
        features: Float[Array, "B T C"],
        mask: Bool[Array, "B T"],
        labels: Float[Array, "B K"] | None,
        *,
        train: bool,
    ) -> tuple[tuple[ClassifierOutput, ...], Float32[Array, "B T K"], Bool[Array, "B T"]]:
        """The stages' outputs, the cascaded sequence and the erased snippets."""
        first = self.stage1(features, mask, train=train)
        if self.stage2 is None:
            return (first,), first.sequence, jnp.zeros_like(mask)
        present = predicted_labels(first.logits) if labels is None else labels
        erased = lax.stop_gradient(
            discovered(activate(first.sequence, self.activation), mask, present, self.erase_threshold)
        )
        second = self.stage2(masked(features, ~erased), mask, train=train)
        return (first, second), jnp.maximum(first.sequence, second.sequence), erased


class MGFN(ClassifierFields):
    """A cascade of classifiers with dilated branches, and a boundary regressor on their encoded features.

    cascade=False, dilations=(1,) and no anchors is the plain CAS; every part can be switched on by itself. With several
    `streams` (late fusion), each has a cascade of its own on its own channels, and their sequences are averaged.
    """

    streams: tuple[int, ...] = ()  # channels of each stream; (): all features are one stream
    cascade: bool = True
    erase_threshold: float = 0.5  # on the activation sequence of the first stage, scaled to [0, 1]
    activation: str = "sigmoid"  # see `activate`
    anchors: tuple[float, ...] = ()  # widths in snippets, M of them; (): no regressor
    regressor_hidden: int = 128

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "B T C"],
        mask: Bool[Array, "B T"],
        labels: Float[Array, "B K"] | None = None,
        *,
        train: bool,
    ) -> MGFNOutput:
        """Localisation sequences and boundary offsets.

        Args:
          features: of the recordings.
          mask: real snippets come first.
          labels: 1 for the classes of the recording; None: those that the first stage finds more likely than
            not, at least the likeliest.
          train: dropout on; needs a `dropout` rng.
        """
        widths = self.streams or (features.shape[-1],)
        if sum(widths) != features.shape[-1]:
            raise ValueError(f"streams {widths} do not add up to the {features.shape[-1]} channels of the features")
        cascades = []
        for i, width in enumerate(widths):
            start = sum(widths[:i])
            name = f"stream{i + 1}" if len(widths) > 1 else "cascade"
            pair = self._classifier(), self._classifier() if self.cascade else None
            cascade = Cascade(*pair, self.erase_threshold, self.activation, name=name)
            cascades.append(cascade(features[..., start : start + width], mask, labels, train=train))
        stages = tuple(_side_by_side(outputs) for outputs in zip(*(c[0] for c in cascades), strict=True))
        sequence: Any = sum(c[1] for c in cascades) / len(cascades)
        erased = jnp.stack([c[2] for c in cascades])

        offsets = jnp.zeros((*mask.shape, 0, 2), jnp.float32)
        if self.anchors:
            x = stages[0].encoded
            for i in range(3):
                conv = Conv1D(self.regressor_hidden, 3, dtype=self.dtype, name=f"regressor{i + 1}")
                x = masked(nn.relu(conv(x)), mask)
            raw = Conv1D(2 * len(self.anchors), 3, dtype=self.dtype, name="offsets")(x).astype(jnp.float32)
            bound = jnp.asarray(OFFSET_BOUNDS).reshape((1, 1, 1, 2))
            offsets = bound * jnp.tanh(raw.reshape((*mask.shape, len(self.anchors), 2)) / bound)
        return MGFNOutput(stages, sequence, erased, offsets)

    def _classifier(self) -> DilatedClassifier:
        """One of the same fields, for a cascade to own."""
        names = {field.name for field in dataclasses.fields(ClassifierFields)} - {"parent", "name"}
        return DilatedClassifier(**{name: getattr(self, name) for name in names}, parent=None)


def _side_by_side(outputs: tuple[ClassifierOutput, ...]) -> ClassifierOutput:
    """The same stage of all streams as one: channels and branches joined, sequences averaged."""
    total: Any = sum(o.sequence for o in outputs)
    return ClassifierOutput(
        encoded=jnp.concatenate([o.encoded for o in outputs], axis=-1),
        logits=jnp.concatenate([o.logits for o in outputs]),
        pooled=jnp.concatenate([o.pooled for o in outputs]),
        sequence=total / len(outputs),
    )


def predicted_labels(logits: Float[Array, "R B K"]) -> Float32[Array, "B K"]:
    """1 for classes that the R branches together find more likely than not, at least for the likeliest."""
    fused = jnp.mean(logits, axis=0)
    # Not fused >= max(fused): compiled, both sides may be rounded differently, and no class would be left.
    best = jnp.argmax(fused, axis=-1, keepdims=True) == jnp.arange(fused.shape[-1])[None]
    return ((fused > 0) | best).astype(jnp.float32)


def activate(sequence: Float[Array, "*shape"], activation: str) -> Float[Array, "*shape"]:
    """The class activation sequence that erasing, the OIC loss and decoding read.

    "sigmoid" squeezes logits into (0, 1), so that a few peaks do not dwarf the rest once a sequence is scaled; "linear"
    leaves them as they are, which suits GAP, whose logits have no natural zero per snippet.
    """
    if activation not in ("sigmoid", "linear"):
        raise ValueError(f"activation is 'sigmoid' or 'linear', not {activation!r}")
    return nn.sigmoid(sequence) if activation == "sigmoid" else sequence


def scaled(sequence: Float[Array, "B T K"], mask: Bool[Array, "B T"]) -> Float[Array, "B T K"]:
    """Min-max scaling to [0, 1] over real snippets, class by class; a constant sequence becomes 0."""
    real = mask[..., None]
    # By index, as in `losses.oic`: the gradients of jnp.min and jnp.max depend on how the compiler rounds.
    lowest = jnp.argmin(jnp.where(real, sequence, jnp.inf), axis=1, keepdims=True)
    highest = jnp.argmax(jnp.where(real, sequence, -jnp.inf), axis=1, keepdims=True)
    low, high = (jnp.take_along_axis(sequence, at, axis=1) for at in (lowest, highest))
    span = jnp.where(high > low, high - low, 1.0)
    return jnp.where(real & (high > low), (sequence - jnp.where(high > low, low, 0.0)) / span, 0.0)


def discovered(
    cas: Float[Array, "B T K"], mask: Bool[Array, "B T"], labels: Float[Array, "B K"], threshold: Scalar
) -> Bool[Array, "B T"]:
    """The regions to erase: where the scaled activation of any class of the recording exceeds a threshold."""
    return jnp.any((scaled(cas, mask) > threshold) & (labels[:, None, :] > 0), axis=-1)
