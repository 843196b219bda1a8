"""The loss of recognition."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32

from tal_jax.types import Array


def recognition_loss(
    logits: Float[Array, "B K"], labels: Float[Array, "B K"], smoothing: float = 0.0
) -> Float32[Array, ""]:
    """Softmax cross-entropy, the mean over clips.

    The target of a clip is 1 / n for each of its n classes, of which `smoothing` is spread evenly over all K (Szegedy
    et al. 2016, arXiv:1512.00567). A clip without a class has no part in the mean.

    Args:
      logits: of the classes.
      labels: 1 for every class that a clip shows.
      smoothing: in [0, 1).
    """
    count = labels.sum(1, keepdims=True)
    target = labels / jnp.maximum(count, 1)
    target = target * (1 - smoothing) + smoothing / labels.shape[1]
    each = -(target * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(1)
    real = (count[:, 0] > 0).astype(jnp.float32)
    return (each * real).sum() / jnp.maximum(real.sum(), 1)
