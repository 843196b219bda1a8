"""Residual networks of images, as TSN, TSM and TIN use them.

TSN (Wang et al. 2016, arXiv:1608.00859) averages over a clip's images; TSM (Lin et al. 2019, arXiv:1811.08383) also
lets them see their neighbours, by moving some channels one image on before each block; TIN (Shao et al. 2020,
arXiv:2001.06499) learns how far they move.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.encoders.bottleneck import Bottleneck
from tal_jax.encoders.layers import ConvNorm, max_pool, mean_pool
from tal_jax.encoders.temporal_interlace import Interlace
from tal_jax.types import Array

MANY = 23  # blocks of the third stage, from which on TSM shifts before every second block only


def temporal_shift(x: Float[Array, "N Y X C"], images: int, fold: int = 8) -> Float[Array, "N Y X C"]:
    """Moves channels between the images of a clip; zeros enter at its ends.

    Args:
      x: the images of all clips, N = B * images.
      images: F of a clip.
      fold: the first C // fold channels come from the next image, as many after them from the previous one.
    """
    clips = x.reshape(-1, images, *x.shape[1:])
    part = x.shape[-1] // fold
    padded = jnp.pad(clips[..., : 2 * part], ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    ahead, behind = padded[:, 2:, ..., :part], padded[:, :-2, ..., part:]
    return jnp.concatenate([ahead, behind, clips[..., 2 * part :]], -1).reshape(x.shape)


def shifted(depths: tuple[int, ...], block: int) -> bool:
    """Whether TSM shifts before a block of a stage: every one, or every second in deep networks."""
    return depths[2] < MANY or block % 2 == 0


class ResNet(nn.Module):
    """A residual network of bottlenecks; the feature is the mean over the places and images of a clip."""

    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks of the stages: 50 layers
    width: int = 64  # of the first convolution; D = 32 width
    shift: bool = False  # TSM
    fold: int = 8  # of TSM; TIN's is 4
    interlaced: int | None = None  # TIN: images of a clip, which its layers are made for
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B D"]:
        """The pooled feature of every clip."""
        batch, images = clips.shape[:2]
        if self.interlaced not in (None, images):
            raise ValueError(f"a clip of this TIN has {self.interlaced} images, which it was made for, not {images}")
        x = clips.reshape(batch * images, *clips.shape[2:])
        x = ConvNorm(self.width, (7, 7), (2, 2), dtype=self.dtype, name="stem")(x, train)
        x = max_pool(x, (3, 3), (2, 2))
        shift = functools.partial(temporal_shift, images=images, fold=self.fold)
        for i, blocks in enumerate(self.depths):
            for j in range(blocks):
                before: Callable[[Array], Array] | None = None
                if self.interlaced is not None:
                    before = Interlace(images, name=f"interlace{i + 1}_{j}")
                elif self.shift and shifted(self.depths, j):
                    before = shift
                block = Bottleneck(
                    self.width * 2**i,
                    stride=2 if i and not j else 1,
                    before=before,
                    dtype=self.dtype,
                    name=f"layer{i + 1}_{j}",
                )
                x = block(x, train)
        return mean_pool(x).reshape(batch, images, -1).mean(1)
