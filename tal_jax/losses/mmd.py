"""Maximum mean discrepancy between two samples (Gretton et al. 2012, JMLR 13, equation 3)."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Float32

from tal_jax.types import Array

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd(
    x: Float[Array, "M D"],
    y: Float[Array, "N D"],
    x_mask: Bool[Array, "M"],
    y_mask: Bool[Array, "N"],
    bandwidths: tuple[float, ...] = BANDWIDTHS,
) -> Float32[Array, ""]:
    """Unbiased estimate of the squared MMD under a sum of RBF kernels.

    MMD^2 = mean over i != j of k(x_i, x_j) + mean over i != j of k(y_i, y_j) - 2 mean over i, j of k(x_i, y_j),
    k(a, b) = sum over multipliers q of exp(-|a - b|^2 / (2 (q m)^2)), where m is the median distance between different
    members of the two samples together (1 where that is 0); it is a constant for differentiation. The estimate can be
    negative.

    Args:
      x, y: the two samples. One with fewer than two real members gives 0.
      x_mask, y_mask: True where a member is real.
      bandwidths: multipliers q.
    """
    m = x.shape[0]
    z = jnp.concatenate([x.astype(jnp.float32), y.astype(jnp.float32)])
    real = jnp.concatenate([x_mask, y_mask])
    z = jnp.where(real[:, None], z, 0.0)
    # Differences, not |a|^2 + |b|^2 - 2ab: close features far from the origin would cancel.
    square = jnp.sum((z[:, None] - z[None]) ** 2, axis=-1)
    pairs = real[:, None] & real[None] & ~jnp.eye(len(z), dtype=bool)
    width = lax.stop_gradient(_masked_median(square, pairs))
    width = jnp.where(width > 0, width, 1.0)
    kernel = jnp.sum(jnp.stack([jnp.exp(-square / (2.0 * q * q * width)) for q in bandwidths]), axis=0)

    def average(block: Array, weight: Array) -> Array:
        count = jnp.sum(weight, dtype=jnp.float32)
        return jnp.sum(jnp.where(weight, block, 0.0)) / jnp.maximum(count, 1.0)

    within_x = average(kernel[:m, :m], pairs[:m, :m])
    within_y = average(kernel[m:, m:], pairs[m:, m:])
    between = average(kernel[:m, m:], pairs[:m, m:])
    enough = (jnp.sum(x_mask, dtype=jnp.int32) >= 2) & (jnp.sum(y_mask, dtype=jnp.int32) >= 2)
    return jnp.where(enough, within_x + within_y - 2.0 * between, 0.0)


def _masked_median(values: Array, mask: Array) -> Array:
    """The lower median of the masked values; infinite without any."""
    ordered = jnp.sort(jnp.where(mask, values, jnp.inf).ravel())
    return ordered[jnp.maximum(jnp.sum(mask, dtype=jnp.int32) - 1, 0) // 2]
