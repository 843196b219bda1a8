"""The smallest encoders that see order and colour, or learn, in the catalogue for as long as a test runs."""

import contextlib
import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import pytest

from tal_jax.encoders import catalogue
from tal_jax.encoders.entry import Encoder
from tal_jax.encoders.layers import ConvNorm, mean_pool
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


class Learner(nn.Module):
    """A convolution, a batch norm, and a convolution over the means of neighbouring images: enough to learn from."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips, train=False):
        batch, images, *shape = clips.shape
        x = ConvNorm(8, (5, 5), (4, 4), dtype=self.dtype, name="stem")(clips.reshape(-1, *shape), train)
        x = ConvNorm(16, (3, 3), (2, 2), dtype=self.dtype, name="next")(x, train)
        return mean_pool(x).reshape(batch, images, -1).mean(1)


SMALL = Encoder("small", Small, images=4, side=32, width=6, preprocessing=FAMILY, weights="nowhere")
LEARNER = Encoder("learner", Learner, images=3, side=32, width=16, preprocessing=FAMILY, weights="nowhere")
FLOW = dataclasses.replace(
    LEARNER, name="learner_flow", channels=4, preprocessing=dataclasses.replace(FAMILY, mean=(0.5,) * 2, std=(0.2,) * 2)
)
ADDED = (SMALL, LEARNER, FLOW)


def add():
    """Adds them to the catalogue of this process, for good."""
    catalogue.ENCODERS = (*[e for e in catalogue.ENCODERS if e not in ADDED], *ADDED)
    catalogue._by_name.cache_clear()


@contextlib.contextmanager
def known():
    """Adds it to the catalogue."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "ENCODERS", (*catalogue.ENCODERS, *ADDED))
        catalogue._by_name.cache_clear()
        yield
    catalogue._by_name.cache_clear()
