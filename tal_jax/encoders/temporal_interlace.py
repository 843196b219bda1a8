"""TIN's temporal interlacing (Shao et al. 2020, arXiv:2001.06499): channels move in time, by learned offsets."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import Conv
from tal_jax.types import Array

FURTHEST = 2  # images that a channel moves at most
START = 0.5108  # of what the offsets are made of, so that they start about 0.5


def interlace(
    x: Float[Array, "B F Y X C"], offsets: Float32[Array, "B 2"], weights: Float32[Array, "B F 2"]
) -> Float[Array, "B F Y X C"]:
    """Moves the four quarters of the channels in time, and scales them; zeros enter at the ends.

    With offset o = s + a, s the largest integer below, y[t] = w[t] ((1 - a) x[t - s] + a x[t - s - 1]). Gradients reach
    o through a, none of them s.

    Args:
      x: clips.
      offsets: (o1, o2) in images, from -2 to 2; the quarters move by o1, o2, -o1, -o2, to later images where positive.
      weights: (w1, w2) of every image; the quarters have w1, w2, w1, w2.
    """
    quarter, images = x.shape[-1] // 4, x.shape[1]
    moves = jnp.repeat(jnp.concatenate([offsets, -offsets], -1), quarter, axis=-1)[:, None]
    scales = jnp.repeat(jnp.concatenate([weights, weights], -1), quarter, axis=-1)
    whole = lax.stop_gradient(jnp.floor(moves))
    part = moves - whole
    padded = jnp.pad(x, ((0, 0), (FURTHEST, FURTHEST), (0, 0), (0, 0), (0, 0)))
    total = jnp.zeros_like(x)
    for lag in range(-FURTHEST, FURTHEST + 1):  # five products, which are one loop for the compiler
        share = scales * (jnp.where(whole == lag, 1 - part, 0) + jnp.where(whole + 1 == lag, part, 0))
        begin = FURTHEST - lag
        total = total + padded[:, begin : begin + images] * share[:, :, None, None].astype(x.dtype)
    return total


class Interlace(nn.Module):
    """Interlaces the first channels of clips; how far and how strongly, it sees in their means over places."""

    images: int  # F of a clip, which the layers are made for
    fold: int = 4  # C // fold channels move

    @nn.compact
    def __call__(self, x: Float[Array, "N Y X C"]) -> Float[Array, "N Y X C"]:
        """The images of all clips, N = B * images, with channels moved."""
        clips = x.reshape(-1, self.images, *x.shape[1:])
        moving = x.shape[-1] // self.fold
        seen = clips[..., :moving]
        means = seen.astype(jnp.float32).mean((2, 3))
        y = Conv(1, (3,), bias=True, name="offset_conv")(means)[..., 0]
        y = nn.relu(nn.Dense(self.images, name="offset_fc1")(y))
        y = nn.Dense(2, bias_init=nn.initializers.constant(START), name="offset_fc2")(y)
        weights = 2 * nn.sigmoid(Conv(2, (3,), bias=True, name="weight_conv")(means))
        moved = interlace(seen, 2 * FURTHEST * (nn.sigmoid(y) - 0.5), weights)
        return jnp.concatenate([moved, clips[..., moving:]], -1).reshape(x.shape)
