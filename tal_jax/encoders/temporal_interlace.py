"""TIN's temporal interlacing (Shao et al. 2020, arXiv:2001.06499): channels move in time, by learned offsets."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.encoders.layers import Conv
from tal_jax.types import Array

FURTHEST = 2  # images that a channel moves at most
START = 0.5108  # bias of what the offsets are made of, so that they start about 0.5


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
    images = x.shape[1]
    moves = jnp.concatenate([offsets, -offsets], -1)[:, None, None]
    whole = jnp.floor(moves)  # no gradients
    part = moves - whole
    times = jnp.arange(images, dtype=jnp.float32)
    lags = times[None, :, None, None] - times[None, None, :, None]
    shares = jnp.where(lags == whole, 1 - part, 0) + jnp.where(lags == whole + 1, part, 0)
    scales = jnp.concatenate([weights, weights], -1)[:, :, None]
    quarters = x.reshape(*x.shape[:-1], 4, -1)
    # To t from u, of which at most two count. As a product it takes no longer than TSM's shift does, on CPUs.
    return jnp.einsum("btuq,buyxqc->btyxqc", (shares * scales).astype(x.dtype), quarters).reshape(x.shape)


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
