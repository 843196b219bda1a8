"""Scaled dot-product attention over all snippets or over a local window, with padding masks.

Letters: B batch, T snippets (queries), S keys, N heads, H channels of a head, W window.
"""

import jax
import jax.numpy as jnp

from tal_jax.types import Array

# Finite, so that a query without any key gets finite weights (and a zero output) instead of NaN.
_HIDDEN = -1e30


def _weights(scores: Array, visible: Array, dropout_rate: float, rng: Array | None) -> Array:
    """Float32 softmax over the last axis of scores, zero where not visible, with optional dropout."""
    scores = jnp.where(visible, scores.astype(jnp.float32), _HIDDEN)
    scores = scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    e = jnp.where(visible, jnp.exp(scores), 0.0)
    total = jnp.sum(e, axis=-1, keepdims=True)
    weights = e / jnp.where(total > 0, total, 1.0)
    if rng is not None and dropout_rate > 0:
        keep = jax.random.bernoulli(rng, 1.0 - dropout_rate, weights.shape)
        weights = jnp.where(keep, weights / (1.0 - dropout_rate), 0.0)
    return weights


def global_attention(
    q: Array, k: Array, v: Array, mask: Array, *, scale: float, dropout_rate: float = 0.0, rng: Array | None = None
) -> Array:
    """Equations 4-6: every query attends to every real snippet.

    Args:
      q, k, v: [B, T, N, H].
      mask: [B, T] bool, True where the snippet is real.
      scale: factor on the scores, 1 / sqrt(width).
      dropout_rate, rng: dropout on the attention weights; none without rng.

    Returns:
      [B, T, N, H] in v's dtype; zero for a recording without real snippets.
    """
    if rng is None or dropout_rate == 0:
        if mask.shape[-1] == 0:
            return v
        y = jax.nn.dot_product_attention(q, k, v, mask=mask[:, None, None, :], scale=scale)
        return jnp.where(jnp.any(mask, axis=-1)[:, None, None, None], y, jnp.zeros((), y.dtype))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) * jnp.asarray(scale, q.dtype)
    w = _weights(scores, mask[:, None, None, :], dropout_rate, rng).astype(v.dtype)
    return jnp.einsum("bnts,bsnh->btnh", w, v)


def local_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array,
    *,
    window: int,
    scale: float,
    dropout_rate: float = 0.0,
    rng: Array | None = None,
    implementation: str = "banded",
) -> Array:
    """Equations 1-3: query i attends to the real snippets j with |i - j| <= window // 2; the window is cut at the ends.

    Args:
      q, k, v: [B, T, N, H].
      mask: [B, T] bool, True where the snippet is real.
      window: odd number of snippets W.
      scale: factor on the scores.
      dropout_rate, rng: dropout on the attention weights; none without rng.
      implementation: `gather` copies the W neighbours of every query, `banded` works in blocks against three blocks of
        keys (memory linear in T), `dense` hides the outside of the band in the full T x T scores.

    Returns:
      [B, T, N, H]; zero where a query sees no real snippet.
    """
    if window % 2 == 0 or window < 1:
        raise ValueError(f"window must be odd and positive, not {window}")
    forms = {"gather": _local_gather, "banded": _local_banded, "dense": _local_dense}
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
    w = _weights(scores, visible, dropout_rate, rng).astype(v.dtype)
    return jnp.einsum("btnw,btwnh->btnh", w, v[:, index])


def _local_dense(q, k, v, mask, radius, scale, dropout_rate, rng):
    t = q.shape[1]
    band = jnp.abs(jnp.arange(t)[:, None] - jnp.arange(t)[None, :]) <= radius
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) * jnp.asarray(scale, q.dtype)
    visible = band[None, None] & mask[:, None, None, :]
    w = _weights(scores, visible, dropout_rate, rng).astype(v.dtype)
    return jnp.einsum("bnts,bsnh->btnh", w, v)


def _local_banded(q, k, v, mask, radius, scale, dropout_rate, rng):
    b, t, n, h = q.shape
    # Blocks at least as long as the radius: a query then sees its own block and the two beside it, nothing else.
    size = max(radius, min(32, t), 1)
    blocks = -(-t // size)
    pad = blocks * size - t
    qb = jnp.pad(q, ((0, 0), (0, pad), (0, 0), (0, 0))).reshape(b, blocks, size, n, h)

    def neighbours(x):  # [B, T, ...] -> [B, blocks, size + 2 radius, ...]
        rest = ((0, 0),) * (x.ndim - 2)
        x = jnp.pad(x, ((0, 0), (0, pad), *rest)).reshape(b, blocks, size, *x.shape[2:])
        # Slices, not indices: their gradients are slices again.
        before = jnp.pad(x[:, :-1, size - radius :], ((0, 0), (1, 0), (0, 0), *rest))
        after = jnp.pad(x[:, 1:, :radius], ((0, 0), (0, 1), (0, 0), *rest))
        return jnp.concatenate([before, x, after], axis=2)

    scores = jnp.einsum("bitnh,bisnh->bints", qb, neighbours(k)) * jnp.asarray(scale, q.dtype)
    # Key s of a block lies radius before its query t when s == t.
    distance = jnp.arange(size + 2 * radius)[None, :] - jnp.arange(size)[:, None] - radius
    visible = (jnp.abs(distance) <= radius)[None, None, None] & neighbours(mask)[:, :, None, None, :]
    w = _weights(scores, visible, dropout_rate, rng).astype(v.dtype)
    return jnp.einsum("bints,bisnh->bitnh", w, neighbours(v)).reshape(b, blocks * size, n, h)[:, :t]
