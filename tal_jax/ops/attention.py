"""Scaled dot-product attention over all snippets or over a local window, with padding masks.

Letters: B batch, T snippets (queries), S keys, N heads, H channels of a head, W window.
"""

import jax
import jax.numpy as jnp
from jax import lax

from tal_jax.ops.dropout import drop
from tal_jax.types import Array

# Finite, so that a query without any key gets finite weights (and a zero output) instead of NaN.
_HIDDEN = -1e30

# Queries of banded attention that are worked on at a time. Measured on a CPU: 512 to 2,048 are alike at T = 1,024 to
# 16,384; all at once, time grows faster than T.
CHUNK = 1024

# Local attention of up to this many windows is dense. See benchmarks/README.md for the crossover.
DENSE_BELOW = 8


def _weights(scores: Array, visible: Array, dropout_rate: float, rng: Array | None) -> Array:
    """Float32 softmax over the last axis of scores, zero where not visible, with optional dropout."""
    scores = jnp.where(visible, scores.astype(jnp.float32), _HIDDEN)
    scores = scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    e = jnp.where(visible, jnp.exp(scores), 0.0)
    total = jnp.sum(e, axis=-1, keepdims=True)
    weights = e / jnp.where(total > 0, total, 1.0)
    if rng is not None and dropout_rate > 0:
        weights = drop(weights, dropout_rate, rng)
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
    implementation: str = "auto",
) -> Array:
    """Equations 1-3: query i attends to the real snippets j with |i - j| <= window // 2; the window is cut at the ends.

    Args:
      q, k, v: [B, T, N, H].
      mask: [B, T] bool, True where the snippet is real.
      window: odd number of snippets W.
      scale: factor on the scores.
      dropout_rate, rng: dropout on the attention weights; none without rng.
      implementation: `gather` copies the W neighbours of every query, `banded` works in blocks against the keys of the
        block and around it (time and memory linear in T), `dense` hides the outside of the band in the full T x T
        scores. `auto`: `dense` for up to DENSE_BELOW windows, else `banded`.

    Returns:
      [B, T, N, H]; zero where a query sees no real snippet.
    """
    if window % 2 == 0 or window < 1:
        raise ValueError(f"window must be odd and positive, not {window}")
    if implementation == "auto":
        implementation = "dense" if q.shape[1] <= DENSE_BELOW * window else "banded"
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
    """In chunks of CHUNK queries, one after the other: what a chunk needs stays in the cache, whatever T is."""
    t = q.shape[1]
    if t <= CHUNK:
        halo = ((0, 0), (radius, radius))
        k, v, mask = (jnp.pad(x, halo + ((0, 0),) * (x.ndim - 2)) for x in (k, v, mask))
        return _banded_chunk(q, k, v, mask, radius, scale, dropout_rate, rng)
    chunks = -(-t // CHUNK)

    def cut(x, halo):  # [B, T, ...] -> [chunks, B, CHUNK + 2 halo, ...]
        rest = ((0, 0),) * (x.ndim - 2)
        x = jnp.pad(x, ((0, 0), (halo, halo + chunks * CHUNK - t), *rest))
        # Slices, not indices: their gradients are slices again.
        return jnp.stack([x[:, i * CHUNK : (i + 1) * CHUNK + 2 * halo] for i in range(chunks)])

    def attend(part):
        q, k, v, mask, key = part
        return _banded_chunk(q, k, v, mask, radius, scale, dropout_rate, key)

    keys = jax.random.split(rng, chunks) if rng is not None else None
    y = lax.map(attend, (cut(q, 0), cut(k, radius), cut(v, radius), cut(mask, radius), keys))
    return jnp.moveaxis(y, 0, 1).reshape(q.shape[0], chunks * CHUNK, *q.shape[2:])[:, :t]


def _banded_chunk(q, k, v, mask, radius, scale, dropout_rate, rng):
    """Blocks of queries against their keys: q [B, S, N, H]; k, v, mask begin and end `radius` snippets further out."""
    b, s, n, h = q.shape
    # At least as long as what a block's keys have more than its queries: these then lie in the block and the next one.
    size = max(2 * radius, min(32, s), 1)
    blocks = -(-s // size)
    qb = jnp.pad(q, ((0, 0), (0, blocks * size - s), (0, 0), (0, 0))).reshape(b, blocks, size, n, h)

    def neighbours(x):  # [B, S + 2 radius, ...] -> [B, blocks, size + 2 radius, ...]
        x = jnp.pad(x, ((0, 0), (0, (blocks + 1) * size - x.shape[1])) + ((0, 0),) * (x.ndim - 2))
        x = x.reshape(b, blocks + 1, size, *x.shape[2:])
        return jnp.concatenate([x[:, :-1], x[:, 1:, : 2 * radius]], axis=2)

    scores = jnp.einsum("bitnh,bisnh->bints", qb, neighbours(k)) * jnp.asarray(scale, q.dtype)
    # Key s of a block lies radius before its query t when s == t.
    distance = jnp.arange(size + 2 * radius)[None, :] - jnp.arange(size)[:, None] - radius
    visible = (jnp.abs(distance) <= radius)[None, None, None] & neighbours(mask)[:, :, None, None, :]
    w = _weights(scores, visible, dropout_rate, rng).astype(v.dtype)
    return jnp.einsum("bints,bisnh->bitnh", w, neighbours(v)).reshape(b, blocks * size, n, h)[:, :s]
