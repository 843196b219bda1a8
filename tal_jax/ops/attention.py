"""Scaled dot-product attention over all snippets or over a local window, with padding masks.

Letters: B batch, T snippets (queries), S keys, N heads, H channels of a head, W window.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, PRNGKeyArray

from tal_jax.ops.attention_banded import banded_attention
from tal_jax.ops.by_platform import by_platform
from tal_jax.ops.masked_softmax import masked_softmax
from tal_jax.types import Array

# Local attention of up to this many windows is dense. See benchmarks/README.md for the crossover.
DENSE_BELOW = 8
# From so many snippets on, global attention with dropout works on one head at a time on CPUs.
BY_HEAD_FROM = 256


def global_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T N H"],
    v: Float[Array, "B T N H"],
    mask: Bool[Array, "B T"],
    *,
    scale: float,
    dropout_rate: float = 0.0,
    rng: PRNGKeyArray | None = None,
    by_head: bool | None = None,
) -> Float[Array, "B T N H"]:
    """Equations 4-6: every query attends to every real snippet.

    Args:
      q, k, v: queries, keys and values.
      mask: True where the snippet is real.
      scale: factor on the scores, 1 / sqrt(width).
      dropout_rate, rng: dropout on the attention weights; none without rng.
      by_head: with dropout, whether one head is worked on at a time, and its T x T weights are computed again for the
        gradients instead of kept. None: on CPUs from BY_HEAD_FROM snippets on.

    Returns:
      Weighted values, in v's dtype; zero for a recording without real snippets.
    """
    if rng is None or dropout_rate == 0:
        if mask.shape[-1] == 0:
            return v
        found = jax.nn.dot_product_attention(q, k, v, mask=mask[:, None, None, :], scale=scale)
        return jnp.where(jnp.any(mask, axis=-1)[:, None, None, None], found, jnp.zeros((), found.dtype))

    def attend(q: Array, k: Array, v: Array, mask: Array, key: PRNGKeyArray) -> Array:
        scores = jnp.einsum("bth,bsh->bts", q, k) * jnp.asarray(scale, q.dtype)
        w = masked_softmax(scores, mask[:, None, :], dropout_rate, key).astype(v.dtype)
        return jnp.einsum("bts,bsh->bth", w, v)

    def one_by_one(q: Array, k: Array, v: Array, mask: Array, keys: jax.Array) -> Array:
        def one(head: tuple[Array, Array, Array, PRNGKeyArray]) -> Array:
            q, k, v, key = head
            return attend(q, k, v, mask, key)

        return lax.map(jax.checkpoint(one), (q, k, v, keys))

    together = jax.vmap(attend, in_axes=(0, 0, 0, None, 0))
    q, k, v = (jnp.moveaxis(x, 2, 0) for x in (q, k, v))
    constants = (mask, jax.random.split(rng, len(q)))
    if by_head is None and q.shape[2] >= BY_HEAD_FROM:
        y: Array = by_platform(one_by_one, together, q, k, v, constants=constants)
    else:
        y = (one_by_one if by_head else together)(q, k, v, *constants)
    return jnp.moveaxis(y, 0, 2)


def local_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T N H"],
    v: Float[Array, "B T N H"],
    mask: Bool[Array, "B T"],
    *,
    window: int,
    scale: float,
    dropout_rate: float = 0.0,
    rng: PRNGKeyArray | None = None,
    implementation: str = "auto",
) -> Float[Array, "B T N H"]:
    """Equations 1-3: query i attends to the real snippets j with |i - j| <= window // 2; the window is cut at the ends.

    Args:
      q, k, v: queries, keys and values.
      mask: True where the snippet is real.
      window: odd number of snippets W.
      scale: factor on the scores.
      dropout_rate, rng: dropout on the attention weights; none without rng.
      implementation: `gather` copies the W neighbours of every query, `banded` works in blocks against the keys of the
        block and around it (time and memory linear in T), `dense` hides the outside of the band in the full T x T
        scores. `auto`: `dense` for up to DENSE_BELOW windows, else `banded`.

    Returns:
      Weighted values; zero where a query sees no real snippet.
    """
    if window % 2 == 0 or window < 1:
        raise ValueError(f"window must be odd and positive, not {window}")
    if implementation == "auto":
        implementation = "dense" if q.shape[1] <= DENSE_BELOW * window else "banded"
    forms = {"gather": _local_gather, "banded": banded_attention, "dense": _local_dense}
    if implementation not in forms:
        raise ValueError(f"implementation is one of {sorted(forms)}, not {implementation!r}")
    return forms[implementation](q, k, v, mask, window // 2, scale, dropout_rate, rng)


def _local_gather(q, k, v, mask, radius, scale, dropout_rate, rng):
    t = q.shape[1]
    k, v, mask = (jnp.asarray(x) for x in (k, v, mask))  # NumPy arrays cannot be indexed by traced positions
    index = jnp.arange(t)[:, None] + jnp.arange(-radius, radius + 1)[None, :]  # [T, W]
    inside = (index >= 0) & (index < t)
    index = jnp.clip(index, 0, max(t - 1, 0))
    scores = jnp.einsum("btnh,btwnh->btnw", q, k[:, index]) * jnp.asarray(scale, q.dtype)
    visible = (mask[:, index] & inside[None])[:, :, None, :]  # [B, T, 1, W]
    w = masked_softmax(scores, visible, dropout_rate, rng).astype(v.dtype)
    return jnp.einsum("btnw,btwnh->btnh", w, v[:, index])


def _local_dense(q, k, v, mask, radius, scale, dropout_rate, rng):
    t = q.shape[1]
    band = jnp.abs(jnp.arange(t)[:, None] - jnp.arange(t)[None, :]) <= radius
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) * jnp.asarray(scale, q.dtype)
    visible = band[None, None] & mask[:, None, None, :]
    w = masked_softmax(scores, visible, dropout_rate, rng).astype(v.dtype)
    return jnp.einsum("bnts,bsnh->btnh", w, v)
