"""Heads of a pyramid that all levels share: classes of every point, and how far its action reaches to both sides."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32

from tal_jax.models.convolution import Conv1D, masked
from tal_jax.models.pyramid import apart
from tal_jax.models.pyramid_blocks import layer_norm
from tal_jax.types import Array

UNIFORM_OF_TAPS = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=(0, 1), out_axis=2)
PRIOR = 0.01  # probability of every class at the start


def convolution(
    x: Float[Array, "B T C"], features: int, taps: int, name: str, bias: float | None = None
) -> Float[Array, "B T {features}"]:
    """A convolution over time of the same length, in the type of x, that starts as PyTorch's do but for its bias."""
    return Conv1D(features, taps, dtype=x.dtype, kernel_init=UNIFORM_OF_TAPS, bias=bias, name=name)(x)


class ConvNormRelu(nn.Module):
    """A convolution of what is seen, masked to what is real, its layer norm, and ReLU."""

    features: int
    taps: int = 3

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T C"], real: Bool[Array, "B T"], seen: Bool[Array, "B T"]
    ) -> Float[Array, "B T {self.features}"]:
        """Applies the three; what comes out is not masked again."""
        y = masked(convolution(masked(x, seen), self.features, self.taps, "conv"), real)
        return nn.relu(layer_norm("norm")(y).astype(x.dtype))


class Tower(nn.Module):
    """Convolutions with layer norm and ReLU, and a last one with bias."""

    features: int
    hidden: int
    layers: int = 3  # the last one included
    taps: int = 3
    start: float = 0.0  # of the last bias

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T C"], real: Bool[Array, "B T"], seen: Bool[Array, "B T"]
    ) -> Float32[Array, "B T {self.features}"]:
        """Applies it to levels side by side; zero where nothing is real."""
        for layer in range(self.layers - 1):
            x = ConvNormRelu(self.hidden, self.taps, name=f"layer{layer}")(x, real, seen)
        y = convolution(masked(x, seen), self.features, self.taps, "out", self.start)
        return masked(y.astype(jnp.float32), real)


class Heads(nn.Module):
    """Class logits and distances of all points.

    bins=0: distances are relu(scale of the level * output), as in ActionFormer. bins=B: TriDet's trident head, see
    `expected_distance`, with distances for each class.
    """

    num_classes: int
    hidden: int
    layers: int = 3
    taps: int = 3
    bins: int = 0
    boundary_taps: int = 3  # of the start and the end head, with bins

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T C"], real: Bool[Array, "B T"], seen: Bool[Array, "B T"], counts: list[int], gap: int
    ) -> tuple[Float32[Array, "B M K"], Float32[Array, "B M #K 2"]]:
        """From levels side by side, see `pyramid.side_by_side`, to points.

        Args:
          x: the levels with `gap` positions between them.
          real, seen: of x; False in the gaps.
          counts: positions of the levels.
          gap: positions between levels.

        Returns:
          Class logits, and distances to start and end in units of the points' strides.
        """
        prior = math.log(PRIOR / (1 - PRIOR))
        towers: Any = {"hidden": self.hidden, "layers": self.layers}
        logits = Tower(self.num_classes, taps=self.taps, start=prior, name="classes", **towers)(x, real, seen)
        width = 2 * (self.bins + 1) if self.bins else 2
        both = Tower(width, taps=self.taps, name="distances", **towers)(x, real, seen)
        scales = [self.param(f"scale{level}", nn.initializers.ones, ()) for level in range(len(counts))]
        ends = [nn.relu(part * scale) for part, scale in zip(apart(both, counts, gap), scales, strict=True)]
        if not self.bins:
            distances = jnp.concatenate(ends, axis=1)[:, :, None]
        else:
            sides = []
            for side, name in enumerate(("start", "end")):
                tower = Tower(self.num_classes, taps=self.boundary_taps, start=prior, name=name, **towers)
                likely = apart(tower(jax.lax.stop_gradient(x), real, seen), counts, gap)
                own = [part[..., side * (self.bins + 1) :][..., : self.bins + 1] for part in ends]
                found = [expected_distance(a, b, side == 1) for a, b in zip(likely, own, strict=True)]
                sides.append(jnp.concatenate(found, axis=1))
            distances = jnp.stack(sides, axis=-1)
        return jnp.concatenate(apart(logits, counts, gap), axis=1), distances


def expected_distance(
    boundary: Float32[Array, "B T K"], bins: Float32[Array, "B T D"], forward: bool
) -> Float32[Array, "B T K"]:
    """TriDet's distance to a boundary: the mean of a distribution over the D = B + 1 nearest positions on one side.

    forward=False: sum_i i softmax_i(boundary[t - i] + bins[t, B - i]) with i = 0..B; forward=True: boundary[t + i] and
    bins[t, i]. Positions beyond the level count with logit 0, as in the released code.

    Args:
      boundary: logits that a position is a start, or an end, by class.
      bins: logits of the distances at every position.
      forward: whether the boundary lies ahead.
    """
    reach, t = bins.shape[-1] - 1, boundary.shape[1]
    pad = (0, reach) if forward else (reach, 0)
    padded = jnp.pad(boundary, ((0, 0), pad, (0, 0)))
    places = jnp.stack([padded[:, i : i + t] for i in range(reach + 1)], axis=-1)  # from the first to the last in time
    weights = jax.nn.softmax(places + bins[:, :, None], axis=-1)
    away = jnp.arange(reach + 1, dtype=jnp.float32) if forward else jnp.arange(reach, -1, -1, dtype=jnp.float32)
    return jnp.sum(weights * away[None, None, None], axis=-1)
