"""Losses of single elements, unreduced."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float

from tal_jax.losses.reduction import masked_mean
from tal_jax.types import Array, Scalar


def smooth_l1(error: Float[Array, "*shape"], beta: Scalar = 1.0) -> Float[Array, "*shape"]:
    """0.5 e^2 / beta where |e| < beta, |e| - beta / 2 elsewhere (Girshick 2015, arXiv:1504.08083)."""
    return optax.losses.huber_loss(error, delta=beta) / beta


def sigmoid_cross_entropy(logits: Float[Array, "*shape"], targets: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """-y log sigmoid(z) - (1 - y) log(1 - sigmoid(z)) with targets y in [0, 1]."""
    return optax.losses.sigmoid_binary_cross_entropy(logits, targets)


def sigmoid_focal(
    logits: Float[Array, "*shape"], targets: Float[Array, "*shape"], gamma: Scalar = 2.0
) -> Float[Array, "*shape"]:
    """Cross-entropy weighted by |y - p|^gamma: focal loss for soft targets (Li et al. 2020, arXiv:2006.04388)."""
    p = jax.nn.sigmoid(logits)
    return sigmoid_cross_entropy(logits, targets) * jnp.abs(targets - p) ** gamma


def balanced_logistic(
    logits: Float[Array, "*shape"], positive: Bool[Array, "*shape"], mask: Bool[Array, "*shape"]
) -> Float[Array, ""]:
    """BMN's weighted binary logistic loss: positives and negatives weigh one half each, over the whole batch.

    Positives get 0.5 n / n_pos and negatives 0.5 n / (n - n_pos), n = number of real elements (BMN, section 4.3).
    Without positives the negatives' half alone is left; without real elements the loss is 0.

    Args:
      logits: of all elements.
      positive: which of them belong to the class.
      mask: what is real.
    """
    terms = sigmoid_cross_entropy(logits, positive.astype(jnp.float32))
    return 0.5 * masked_mean(terms, positive & mask) + 0.5 * masked_mean(terms, ~positive & mask)
