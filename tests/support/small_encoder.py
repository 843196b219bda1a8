"""The smallest encoder that sees order and colour, in the catalogue for as long as a test runs."""

import contextlib

import flax.linen as nn
import jax.numpy as jnp
import pytest

from tal_jax.encoders import catalogue
from tal_jax.video.preprocessing import Preprocessing

FAMILY = Preprocessing(side=32, short_side=40, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


class Small(nn.Module):
    """Mean colours and their products with the time in the clip, so that order counts."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips, train=False):
        kernel = self.param("kernel", nn.initializers.normal(), (3, 6))
        means = clips.mean((2, 3))
        when = jnp.arange(clips.shape[1], dtype=jnp.float32)[None, :, None]
        return (means * (1 + when)).mean(1) @ kernel


SMALL = catalogue.Encoder("small", Small, images=4, side=32, width=6, preprocessing=FAMILY, weights="nowhere")


@contextlib.contextmanager
def known():
    """Adds it to the catalogue."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "ENCODERS", (*catalogue.ENCODERS, SMALL))
        catalogue._by_name.cache_clear()
        yield
    catalogue._by_name.cache_clear()
