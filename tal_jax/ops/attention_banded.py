"""Local attention in blocks of queries against the keys around them: time and memory linear in T.

Letters: B batch, T snippets, N heads, H channels of a head.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, PRNGKeyArray

from tal_jax.ops.by_platform import by_platform
from tal_jax.ops.masked_softmax import masked_softmax
from tal_jax.types import Array

# Queries of banded attention that are worked on at a time: all at once, time grows faster than T.
CHUNK = 512


def banded_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T N H"],
    v: Float[Array, "B T N H"],
    mask: Bool[Array, "B T"],
    radius: int,
    scale: float,
    dropout_rate: float,
    rng: PRNGKeyArray | None,
) -> Float[Array, "B T N H"]:
    """`attention.local_attention` by blocks, on CPUs in chunks of CHUNK queries: what a chunk needs stays in the cache.

    Args:
      q, k, v: queries, keys and values.
      mask: True where the snippet is real.
      radius: of the window, W // 2.
      scale: factor on the scores.
      dropout_rate, rng: dropout on the attention weights; none without rng.

    Returns:
      Weighted values.
    """

    def whole(q, k, v, mask, rng):
        halo = ((0, 0), (radius, radius))
        k, v, mask = (jnp.pad(x, halo + ((0, 0),) * (x.ndim - 2)) for x in (k, v, mask))
        return _banded_chunk(q, k, v, mask, radius, scale, dropout_rate, rng)

    def chunked(q, k, v, mask, rng):
        return _chunked(q, k, v, mask, rng, radius, scale, dropout_rate)

    if q.shape[1] <= CHUNK:
        return whole(q, k, v, mask, rng)
    q, k, v, mask = (jnp.asarray(x) for x in (q, k, v, mask))
    return by_platform(chunked, whole, q, k, v, constants=(mask, rng))


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7))
def _chunked(q, k, v, mask, rng, radius, scale, dropout_rate):
    """Every chunk reads its part of q, k and v and writes its part of the result: nothing else is copied."""

    def attend(i, found):
        first = _first(i, q)
        key = None if rng is None else jax.random.fold_in(rng, i)
        own = lax.dynamic_slice_in_dim(q, first, CHUNK, 1)
        k_part, v_part, mask_part = (_around(x, first, radius) for x in (k, v, mask))
        part = _banded_chunk(own, k_part, v_part, mask_part, radius, scale, dropout_rate, key)
        # With dropout, what two chunks share differs: the first one counts, here as in the gradients.
        part = jnp.where(_new(i, first), part, lax.dynamic_slice_in_dim(found, first, CHUNK, 1))
        return lax.dynamic_update_slice_in_dim(found, part, first, 1)

    return lax.fori_loop(0, -(-q.shape[1] // CHUNK), attend, jnp.zeros_like(v))


def _chunked_forward(q, k, v, mask, rng, radius, scale, dropout_rate):
    return _chunked(q, k, v, mask, rng, radius, scale, dropout_rate), (q, k, v, mask, rng)


def _chunked_backward(radius, scale, dropout_rate, saved, cotangent):
    """Every chunk is computed again, and its gradients are added to the parts that it read."""
    q, k, v, mask, rng = saved

    def pull_back(i, gradients):
        first = _first(i, q)
        key = None if rng is None else jax.random.fold_in(rng, i)
        around = _around(mask, first, radius)

        def attend(q, k, v):
            return _banded_chunk(q, k, v, around, radius, scale, dropout_rate, key)

        own = lax.dynamic_slice_in_dim(q, first, CHUNK, 1)
        _, pull = jax.vjp(attend, own, _around(k, first, radius), _around(v, first, radius))
        part = lax.dynamic_slice_in_dim(cotangent, first, CHUNK, 1)
        found = pull(jnp.where(_new(i, first), part, jnp.zeros((), part.dtype)))
        places = (first, *(_start(x, first, radius) for x in (k, v)))
        parts = (found[0], *(_inside(x, y, first, radius) for x, y in zip((k, v), found[1:], strict=True)))
        return tuple(_add_at(x, y, at) for x, y, at in zip(gradients, parts, places, strict=True))

    start = tuple(jnp.zeros_like(x) for x in (q, k, v))
    return *lax.fori_loop(0, -(-q.shape[1] // CHUNK), pull_back, start), None, None


_chunked.defvjp(_chunked_forward, _chunked_backward)


def _first(i, q):
    """Where chunk i begins: the last one earlier than it should, so that all are of one size."""
    return jnp.minimum(i * CHUNK, q.shape[1] - CHUNK)


def _new(i, first):
    """Which queries of chunk i were not in the one before: [1, CHUNK, 1, 1]."""
    return (first + jnp.arange(CHUNK) >= i * CHUNK).reshape(1, -1, 1, 1)


def _start(x, first, radius):
    """Where the slice of x begins that holds all that a chunk sees of it."""
    return jnp.clip(first - radius, 0, x.shape[1] - min(CHUNK + 2 * radius, x.shape[1]))


def _around(x, first, radius):
    """x from `radius` before a chunk to `radius` after it, zero beyond the ends: [B, CHUNK + 2 radius, ...]."""
    size = min(CHUNK + 2 * radius, x.shape[1])
    at = _start(x, first, radius)
    part = lax.dynamic_slice_in_dim(x, at, size, 1)
    part = jnp.pad(part, ((0, 0), (2 * radius, 2 * radius)) + ((0, 0),) * (x.ndim - 2))
    return lax.dynamic_slice_in_dim(part, first - radius - at + 2 * radius, CHUNK + 2 * radius, 1)


def _inside(x, gradient, first, radius):
    """The gradient of `_around`'s slice of x, from that of its result."""
    shape = (x.shape[0], min(CHUNK + 2 * radius, x.shape[1]), *x.shape[2:])
    at = _start(x, first, radius)
    wide = jnp.pad(gradient, ((0, 0), (2 * radius, 2 * radius), (0, 0), (0, 0)))
    return lax.dynamic_slice(wide, (0, at - first + radius + 2 * radius, 0, 0), shape)


def _add_at(x, part, at):
    size = part.shape[1]
    return lax.dynamic_update_slice_in_dim(x, lax.dynamic_slice_in_dim(x, at, size, 1) + part, at, 1)


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
    w = masked_softmax(scores, visible, dropout_rate, rng).astype(v.dtype)
    return jnp.einsum("bints,bisnh->bitnh", w, neighbours(v)).reshape(b, blocks * size, n, h)[:, :s]
