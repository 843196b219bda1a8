"""Temporal Boundary Regressor of TCANet (report, section 2.2)."""

import flax.linen as nn
import flax.struct
import jax.numpy as jnp

from tal_jax import segments as geometry
from tal_jax.models.convolution import Conv1D
from tal_jax.ops.sampling import interpolate, proposal_points
from tal_jax.types import Array


@flax.struct.dataclass
class RegressorOutput:
    """What one regressor says about its proposals."""

    proposals: Array  # [B, P, 2] the proposals it was given
    ends: Array  # [B, P, 2] frame-level offsets (ds, de)
    center: Array  # [B, P, 2] segment-level offsets (dx, dw)
    iou_logit: Array  # [B, P] confidence: sigmoid is the predicted IoU of `proposals` with their ground truth
    class_logits: Array  # [B, P, K]
    segments: Array  # [B, P, 2] the refined proposals


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
    def __call__(self, features: Array, proposals: Array, limit: Array) -> tuple[Array, Array, Array, Array]:
        """Samples the features around the proposals and regresses.

        Args:
          features: [B, T, H], zero where padded.
          proposals: [B, P, 2].
          limit: [B], where sampling points are clamped.

        Returns:
          ends [B, P, 2], center [B, P, 2], iou_logit [B, P], class_logits [B, P, K], all float32. A level that is
          switched off gives zeros.
        """
        points = proposal_points(
            proposals, limit, context=self.context, inside=self.inside, context_inside=self.context_inside
        )
        x = interpolate(features, points)  # [B, P, 2 context + inside, H]

        def conv(name, features, kernel, stride=1, groups=self.groups, padding=0):
            return Conv1D(features, kernel, stride, 1, groups, padding, dtype=self.dtype, name=name)

        def boundary(name: str, context: Array) -> Array:
            h = nn.relu(conv(f"{name}_conv1", self.frame_hidden, 3, 2, padding=1)(context))
            h = nn.relu(conv(f"{name}_conv2", self.frame_hidden, 3, 2, padding=1)(h))
            return conv(f"{name}_out", 1, self.context // 4, groups=1)(h)[..., 0, 0]

        zeros = jnp.zeros(proposals.shape, jnp.float32)
        ends = zeros
        if self.frame_level:
            ends = jnp.stack(
                [boundary("start", x[:, :, : self.context]), boundary("end", x[:, :, -self.context :])], axis=-1
            ).astype(jnp.float32)

        h = nn.relu(conv("segment_conv1", self.hidden, 3, 2, padding=1)(x))
        h = nn.relu(conv("segment_conv2", self.hidden, 3, 2, padding=1)(h))
        h = nn.relu(conv("segment_conv3", self.hidden, points.shape[-1] // 4)(h))[:, :, 0]  # [B, P, hidden]
        out = nn.Dense(3, dtype=self.dtype, name="segment_out")(h).astype(jnp.float32)
        center = out[..., :2] if self.segment_level else zeros
        if self.num_classes:
            class_logits = nn.Dense(self.num_classes, dtype=self.dtype, name="class_out")(h).astype(jnp.float32)
        else:
            class_logits = jnp.zeros((*proposals.shape[:2], 0), jnp.float32)
        return ends, center, out[..., 2], class_logits


def refine(
    proposals: Array,
    ends: Array,
    center: Array,
    limit: Array,
    *,
    tau: float,
    ends_scale: float = 1.0,
    center_scale: tuple[float, float] = (1.0, 1.0),
) -> Array:
    """Equation 16: tau * frame-level + (1 - tau) * segment-level segments, clamped to [0, limit]. [B, P, 2]."""
    by_ends = geometry.decode_ends(proposals, ends_scale * ends)
    by_center = geometry.decode_center(proposals, center * jnp.asarray(center_scale, jnp.float32).reshape(1, 1, 2))
    return jnp.clip(tau * by_ends + (1 - tau) * by_center, 0.0, limit[:, None, None])
