"""Temporal Boundary Regressor of TCANet (report, section 2.2)."""

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax import segments as geometry
from tal_jax.models.convolution import ConvWeights
from tal_jax.ops.convolution import conv1d_of_whole_by_group, halving_by_group
from tal_jax.ops.sampled_convolution import halving_at
from tal_jax.ops.sampling import proposal_points
from tal_jax.types import Array


@flax.struct.dataclass
class RegressorOutput:
    """What one regressor says about its proposals."""

    proposals: Float[Array, "B P 2"]  # the proposals it was given
    ends: Float32[Array, "B P 2"]  # frame-level offsets (ds, de)
    center: Float32[Array, "B P 2"]  # segment-level offsets (dx, dw)
    iou_logit: Float32[Array, "B P"]  # confidence: sigmoid is the predicted IoU of `proposals` with their ground truth
    class_logits: Float32[Array, "B P K"]
    segments: Float[Array, "B P 2"]  # the refined proposals


class TemporalBoundaryRegressor(nn.Module):
    """Frame-level and segment-level regression of proposals, fused (equations 10-16).

    Frame level: one convolution stack on the start context and one on the end context -> (ds, de). Segment level: a
    stack on [start | inside | end] -> (dx, dw, IoU logit), and one more linear head for class logits.
    """

    hidden: int = 512
    frame_hidden: int = 128
    groups: int = 4
    context: int = 32  # points of either context, a multiple of 4
    inside: int = 64  # points inside, 2 * context + inside is a multiple of 4
    context_inside: float = 0.0  # how far the contexts reach into the proposal, in widths; 0 in the report
    num_classes: int = 0
    frame_level: bool = True
    segment_level: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "B T H"], proposals: Float[Array, "B P 2"], limit: Float[Array, "B"]
    ) -> tuple[
        Float32[Array, "B P 2"],
        Float32[Array, "B P 2"],
        Float32[Array, "B P"],
        Float32[Array, "B P {self.num_classes}"],
    ]:
        """Samples the features around the proposals and regresses.

        Args:
          features: zero where padded.
          proposals: in snippet units.
          limit: where sampling points are clamped.

        Returns:
          ends, center, iou_logit and class_logits, as in `RegressorOutput`. A level that is switched off gives zeros.
        """
        points = proposal_points(
            proposals, limit, context=self.context, inside=self.inside, context_inside=self.context_inside
        )
        stacks = {"segment": (self.hidden, slice(None))}
        if self.frame_level:
            start, end = slice(self.context), slice(-self.context, None)
            stacks = {"start": (self.frame_hidden, start), "end": (self.frame_hidden, end)} | stacks
        first = {
            name: ConvWeights(width, 3, self.groups, name=f"{name}_conv1")(features.shape[-1])
            for name, (width, _) in stacks.items()
        }
        kernels = [kernel.astype(self.dtype) for kernel, _ in first.values()]
        parts = [part for _, part in stacks.values()]
        sampled = dict(zip(stacks, halving_at(features, kernels, points, parts, groups=self.groups), strict=True))

        def halved_twice(name: str) -> Array:
            """Both strided convolutions of a stack, on its n points: [G, B P, n / 4, width / G]."""
            width, bias = stacks[name][0], first[name][1]
            # Flat, as they were sampled: in four axes XLA takes longer on CPUs.
            even, odd = (self._activated(y.reshape(y.shape[0], -1, y.shape[-1]), bias).reshape(y.shape)
                         for y in sampled[name])  # fmt: skip
            kernel2, bias2 = ConvWeights(width, 3, self.groups, name=f"{name}_conv2")(width)
            return self._activated(halving_by_group(even, odd, kernel2.astype(self.dtype)), bias2)

        def boundary(name: str) -> Array:
            h = halved_twice(name)
            kernel, bias = ConvWeights(1, self.context // 4, name=f"{name}_out")(self.frame_hidden)
            kernel = kernel.astype(self.dtype).reshape(self.context // 4, self.groups, -1)
            return (jnp.einsum("gqsc,sgc->q", h, kernel) + bias.astype(self.dtype)).reshape(proposals.shape[:2])

        ends = jnp.zeros(proposals.shape, jnp.float32)
        if self.frame_level:
            ends = jnp.stack([boundary("start"), boundary("end")], axis=-1).astype(jnp.float32)

        h = halved_twice("segment")
        kernel, bias = ConvWeights(self.hidden, points.shape[-1] // 4, self.groups, name="segment_conv3")(self.hidden)
        h = self._activated(conv1d_of_whole_by_group(h, kernel.astype(self.dtype)), bias)  # [G, B P, hidden / G]
        h = jnp.moveaxis(h, 0, 1).reshape(*proposals.shape[:2], self.hidden)
        out = nn.Dense(3, dtype=self.dtype, name="segment_out")(h).astype(jnp.float32)
        center = out[..., :2] if self.segment_level else jnp.zeros(proposals.shape, jnp.float32)
        if self.num_classes:
            class_logits = nn.Dense(self.num_classes, dtype=self.dtype, name="class_out")(h).astype(jnp.float32)
        else:
            class_logits = jnp.zeros((*proposals.shape[:2], 0), jnp.float32)
        return ends, center, out[..., 2], class_logits

    def _activated(self, x: Array, bias: Array) -> Array:
        """ReLU(x + bias) for channels that are laid out by group: x [G, .., C / G], bias [C]."""
        return nn.relu(x + bias.astype(self.dtype).reshape(self.groups, *(1,) * (x.ndim - 2), -1))


def refine(
    proposals: Float[Array, "B P 2"],
    ends: Float[Array, "B P 2"],
    center: Float[Array, "B P 2"],
    limit: Float[Array, "B"] | None,
    *,
    tau: float,
    ends_scale: float = 1.0,
    center_scale: tuple[float, float] = (1.0, 1.0),
) -> Float[Array, "B P 2"]:
    """Equation 16: tau * frame-level + (1 - tau) * segment-level segments.

    Args:
      proposals, ends, center: as in `RegressorOutput`.
      limit: segments are clamped to [0, limit]; None clamps below alone, as the released code does.
      tau: weight of the frame level.
      ends_scale, center_scale: factors on the offsets of either level.

    Returns:
      Segments in snippet units.
    """
    by_ends = geometry.decode_ends(proposals, ends_scale * ends)
    by_center = geometry.decode_center(proposals, center * jnp.asarray(center_scale, jnp.float32).reshape(1, 1, 2))
    fused = tau * by_ends + (1 - tau) * by_center
    return jnp.clip(fused, 0.0, None if limit is None else limit[:, None, None])
