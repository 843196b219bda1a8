"""A network that names what clips show: an encoder, and a linear classifier of its features."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float32, UInt8

from tal_jax.encoders import catalogue
from tal_jax.encoders.layers import Head
from tal_jax.models.dropout import Dropout
from tal_jax.types import Array
from tal_jax.video.preprocessing import Preprocessing


def normalised(images: UInt8[Array, "*B Y X C"], preprocessing: Preprocessing) -> Float32[Array, "*B Y X C"]:
    """Images of bytes as an encoder was trained on them; stacked flow fields each by itself, x and y."""
    each = len(preprocessing.mean)
    fields = images.reshape(*images.shape[:-1], images.shape[-1] // each, each)
    return preprocessing.on_device(fields).reshape(images.shape)


class Recogniser(nn.Module):
    """Class logits of clips.

    A clip's feature is the mean over its places and images, so that the classifier's logits are the mean of those of
    its images (TSN's consensus); dropout comes between the two, after the mean.
    """

    encoder: str  # name in the catalogue
    num_classes: int  # K
    images: int = 0  # F that the network sees at once; 0: as many as the encoder has
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, clips: UInt8[Array, "B T Y X C"], train: bool = False
    ) -> Float32[Array, "B V {self.num_classes}"]:
        """The logits of every view; T = V F, one view after the other."""
        entry = catalogue.find(self.encoder)
        images = self.images or entry.images
        batch, total, *shape = clips.shape
        if total % images:
            raise ValueError(f"{total} images are no whole views of {images}")
        seen = normalised(clips, entry.preprocessing).reshape(-1, images, *shape)
        features = entry.make(dtype=self.dtype, name="encoder")(seen, train)
        features = Dropout(self.dropout, deterministic=not train)(features)
        return Head(self.num_classes, name="head")(features).reshape(batch, total // images, -1)
