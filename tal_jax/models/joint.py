"""BMN and TCANet on one encoder: proposals are found in the features that refine them."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float

from tal_jax.models.bmn import BMN, BMNOutput
from tal_jax.models.tcanet import TCANet, TCANetOutput
from tal_jax.types import Array, Detections


@flax.struct.dataclass
class JointOutput:
    """What both networks say; the proposals are those that the regressors got, in snippet units."""

    bmn: BMNOutput  # on the coarse grid
    proposals: Detections
    tcanet: TCANetOutput


class Joint(nn.Module):
    """TCANet's base convolutions and encoders, BMN on them at `pool` snippets a step, and TCANet's regressors.

    Losses of both reach the encoder. What proposals are picked is no function that has gradients; the regressors
    learn from those that BMN finds at the time.
    """

    bmn: BMN
    tcanet: TCANet
    pool: int = 1

    def __call__(
        self,
        features: Float[Array, "B T C"],
        mask: Bool[Array, "B T"],
        duration: Float[Array, "B"],
        pick: Callable[[BMNOutput, Array, Array], Detections],
        *,
        train: bool,
    ) -> JointOutput:
        """Finds and refines.

        Args:
          features: of the recordings.
          mask: True where a snippet is real.
          duration: in snippet units.
          pick: from BMN's output, mask and duration to proposals, all on the coarse grid.
          train: dropout on; needs a `dropout` rng.
        """
        x = self.tcanet.encode(features, mask, train=train)
        pooled, coarse = pooled_mean(x, mask, self.pool)
        output = self.bmn(pooled, coarse)
        picked = lax.stop_gradient(pick(output, coarse, duration / self.pool))
        segments = jnp.minimum(picked.segments * self.pool, duration[:, None, None])
        refined = self.tcanet.refine(x, duration, segments, train=train)
        return JointOutput(output, dataclasses.replace(picked, segments=segments), refined)


def pooled_mean(
    x: Float[Array, "B T H"], mask: Bool[Array, "B T"], size: int
) -> tuple[Float[Array, "B (T+{size}-1)//{size} H"], Bool[Array, "B (T+{size}-1)//{size}"]]:
    """Means over real snippets of groups of `size`, and which of them are real."""
    missing = -x.shape[1] % size
    x, mask = jnp.pad(x, ((0, 0), (0, missing), (0, 0))), jnp.pad(mask, ((0, 0), (0, missing)))
    real = mask.reshape(mask.shape[0], -1, size)
    groups = jnp.where(real[..., None], x.reshape(*real.shape, -1), jnp.zeros((), x.dtype))
    count = jnp.sum(real, axis=2, dtype=x.dtype)
    return jnp.sum(groups, axis=2) / jnp.maximum(count, 1)[..., None], jnp.any(real, axis=2)
