"""The boundary-matching layer tile by tile: project the sequence, then sum shifted rows of the projection.

With Y[n, r] = x[r] K[n] (K the convolution over the bins), cell (t, d) is sum over bins n and rows r of
w[d, n, r - t] Y[n, r]: only the weights depend on the cell, and a bin touches few rows. A tile of `block` durations and
`starts` starts is one matrix product of these weights with the rows that any of its cells touches. Tiles run one after
the other, so what they need stays in the cache; tiles beyond the end of the sequence do not run at all.

Truncated sampling adds weights on row 0 that depend on start and duration: bins more columns of a tile's matrix.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from tal_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Sizes of the layer and of its tiles."""

    durations: int  # D
    bins: int  # N
    points: int
    block: int  # durations of a tile
    starts: int  # starts of a tile


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def matched_by_tiles(
    tiling: Tiling,
    bin_weights: Callable,
    head: Callable,
    x: Float[Array, "B T P"],
    kernel: Float[Array, "{tiling.bins} P H"],
    params: Any,
    at_zero: Float[Array, "T {tiling.durations} {tiling.bins}"] | None = None,
) -> Float[Array, "B T {tiling.durations} O"]:
    """`boundary_matching` with implementation="projected".

    at_zero: constant, further weights on snippet 0.
    """
    lowest, weights = _plan(tiling, bin_weights)
    y = _project(x, kernel)
    beyond = head(params, jnp.zeros((1, kernel.shape[-1]), x.dtype))[0]
    b, t = x.shape[:2]
    shape = (b, t + tiling.starts, len(lowest) * tiling.block, beyond.shape[-1])
    found = jnp.broadcast_to(beyond.reshape(1, 1, 1, -1), shape)
    further = _further(tiling, at_zero, len(lowest), x.dtype)

    def tile(found: Array, at: tuple[Array, Array, Array], matrix: Array, low: Array) -> Array:
        row, start, duration = at
        index = _index(tiling, matrix, low, start, t)
        matrix, index = _with_further(tiling, matrix, index, further, start, duration, t)
        cells = _cells(tiling, matrix, _rows(y, row, index), start, duration, t)
        return lax.dynamic_update_slice(found, head(params, cells)[None], (row, start, duration, 0))

    found = _over_tiles(tiling, tile, found, lowest, weights, b, t, x.dtype)
    return found[:, :t, : tiling.durations]


def _forward(tiling, bin_weights, head, x, kernel, params, at_zero):
    return matched_by_tiles(tiling, bin_weights, head, x, kernel, params, at_zero), (x, kernel, params, at_zero)


def _backward(tiling, bin_weights, head, saved, cotangent):
    """Every tile is computed again, and its part of all gradients added up."""
    x, kernel, params, at_zero = saved
    lowest, weights = _plan(tiling, bin_weights)
    further = _further(tiling, at_zero, len(lowest), x.dtype)
    y, pull_projection = jax.vjp(_project, x, kernel)
    b, t = x.shape[:2]
    # Cells that no tile covers are the head of zero.
    first, duration = np.arange(t)[:, None], np.arange(tiling.durations)[None, :]
    covered = np.ceil((t - duration // tiling.block * tiling.block) / tiling.starts) * tiling.starts > first
    outside = jnp.sum(jnp.where(covered[None, :, :, None], 0.0, cotangent.astype(jnp.float32)), axis=(0, 1, 2))
    _, pull = jax.vjp(lambda p: head(p, jnp.zeros((1, kernel.shape[-1]), x.dtype)), params)
    (d_params,) = pull(outside.astype(cotangent.dtype)[None])
    missing = len(lowest) * tiling.block - tiling.durations
    cotangent = jnp.pad(cotangent, ((0, 0), (0, tiling.starts), (0, missing), (0, 0)))

    def tile(
        carry: tuple[jax.Array, Any], at: tuple[Array, Array, Array], matrix: Array, low: Array
    ) -> tuple[jax.Array, Any]:
        d_y, d_params = carry
        row, start, duration = at
        index = _index(tiling, matrix, low, start, t)
        matrix, index = _with_further(tiling, matrix, index, further, start, duration, t)
        cells = _cells(tiling, matrix, _rows(y, row, index), start, duration, t)
        size = (1, tiling.starts, tiling.block, cotangent.shape[-1])
        _, pull = jax.vjp(head, params, cells)
        own, d_cells = pull(lax.dynamic_slice(cotangent, (row, start, duration, 0), size)[0])
        d_cells = jnp.where(_inside(tiling, start, duration, t), d_cells, jnp.zeros((), d_cells.dtype))
        flat = d_cells.reshape(-1, d_cells.shape[-1])
        d_rows = jnp.matmul(matrix.T, flat, preferred_element_type=jnp.float32)
        d_y = d_y.at[row, index].add(d_rows, mode="promise_in_bounds")
        return d_y, jax.tree.map(jnp.add, d_params, own)

    d_y = jnp.zeros((b, y.shape[1], y.shape[2]), jnp.float32)
    d_y, d_params = _over_tiles(tiling, tile, (d_y, d_params), lowest, weights, b, t, x.dtype)
    d_x, d_kernel = pull_projection(d_y.astype(y.dtype))
    return d_x, d_kernel, d_params, None if at_zero is None else jnp.zeros_like(at_zero)


matched_by_tiles.defvjp(_forward, _backward)


@functools.lru_cache(maxsize=32)
def _plan(tiling: Tiling, bin_weights: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Where each block's bins begin, [blocks, bins], and weights [blocks, block, bins, O] of the O rows from there."""
    found = []
    for first in range(0, tiling.durations, tiling.block):
        last = min(first + tiling.block, tiling.durations)
        offset, weights = bin_weights(first, last, tiling.bins, tiling.points)  # [O, D, bins]
        touched = np.any(weights != 0, axis=1)  # [O, bins]
        low = np.argmax(touched, axis=0)
        high = len(touched) - np.argmax(touched[::-1], axis=0)
        found.append((offset, weights, low, high))
    reach = max(int((high - low).max()) for _, _, low, high in found)
    lowest = np.zeros((len(found), tiling.bins), np.int32)
    table = np.zeros((len(found), tiling.block, tiling.bins, reach), np.float32)
    for i, (offset, weights, low, high) in enumerate(found):
        lowest[i] = low + offset
        for n in range(tiling.bins):
            table[i, : weights.shape[1], n, : high[n] - low[n]] = weights[low[n] : high[n], :, n].T
    return lowest, table


def _project(x: Array, kernel: Array) -> jax.Array:
    """Y as rows (n, r): [B, bins (T + 2), H]. Row r = 0 and r = T + 1 of every bin are zero: beyond the ends."""
    y = jnp.einsum("btp,nph->bnth", x, kernel)
    return jnp.pad(y, ((0, 0), (0, 0), (1, 1), (0, 0))).reshape(x.shape[0], -1, kernel.shape[-1])


def _rows(y: jax.Array, row: Array, index: Array) -> Array:
    return y.at[row, index].get(mode="promise_in_bounds")


def _index(tiling: Tiling, matrix: Array, low: Array, start: Array, t: int) -> Array:
    """The rows of Y that a tile's matrix product reads: [bins x reach of the tile]."""
    reach = matrix.shape[1] // tiling.bins
    at = jnp.clip(start + low[:, None] + jnp.arange(reach, dtype=jnp.int32)[None, :], -1, t) + 1
    return (at + (t + 2) * jnp.arange(tiling.bins, dtype=jnp.int32)[:, None]).ravel()


def _further(tiling: Tiling, at_zero: Array | None, blocks: int, dtype: jnp.dtype) -> Array | None:
    """The weights on snippet 0 of every cell that some tile has: [T + starts, blocks x block, bins]."""
    if at_zero is None:
        return None
    more = ((0, tiling.starts), (0, blocks * tiling.block - tiling.durations), (0, 0))
    return jnp.pad(jnp.asarray(at_zero, dtype), more)


def _with_further(
    tiling: Tiling, matrix: Array, index: Array, further: Array | None, start: Array, duration: Array, t: int
) -> tuple[Array, Array]:
    """A tile's matrix and rows with those of snippet 0 in every bin, where there are further weights on it."""
    if further is None:
        return matrix, index
    size = (tiling.starts, tiling.block, tiling.bins)
    own = lax.dynamic_slice(further, (start, duration, 0), size).reshape(-1, tiling.bins)
    zero = 1 + (t + 2) * jnp.arange(tiling.bins, dtype=jnp.int32)
    return jnp.concatenate([matrix, own], axis=1), jnp.concatenate([index, zero])


def _cells(tiling: Tiling, matrix: Array, rows: Array, start: Array, duration: Array, t: int) -> Array:
    """A tile's cells: [starts, block, H], zero where they end beyond the sequence."""
    cells = jnp.matmul(matrix, rows, preferred_element_type=jnp.float32).astype(rows.dtype)
    cells = cells.reshape(tiling.starts, tiling.block, -1)
    return jnp.where(_inside(tiling, start, duration, t), cells, jnp.zeros((), cells.dtype))


def _inside(tiling: Tiling, start: Array, duration: Array, t: int) -> Array:
    last = jnp.arange(tiling.starts)[:, None] + jnp.arange(tiling.block)[None, :] + start + duration
    return (last < t)[..., None]


def _matrix(tiling: Tiling, weights: Array) -> Array:
    """Weights of every cell of a tile on every row that the tile touches: [starts block, bins (starts + O - 1)].

    Row t of a bin's part is its weights [O] shifted by t: those, padded to one more than the row's length, repeated and
    cut into rows.
    """
    block, bins, reach = weights.shape
    length = tiling.starts + reach - 1
    padded = jnp.pad(weights, ((0, 0), (0, 0), (0, length + 1 - reach)))
    repeated = jnp.broadcast_to(padded[:, :, None], (block, bins, tiling.starts, length + 1)).reshape(block, bins, -1)
    rows = repeated[..., : tiling.starts * length].reshape(block, bins, tiling.starts, length)
    return rows.transpose(2, 0, 1, 3).reshape(tiling.starts * block, bins * length)


def _over_tiles(tiling, tile, carry, lowest, weights, batch, t, dtype):
    """Runs `tile` on every tile that has a cell within the sequence, of every recording; durations outermost."""

    def one_block(carry, block):
        duration, low, weights = block
        matrix = _matrix(tiling, weights).astype(dtype)
        tiles = jnp.maximum(t - duration + tiling.starts - 1, 0) // tiling.starts

        def one_tile(i, carry):
            return tile(carry, (i // tiles, i % tiles * tiling.starts, duration), matrix, low)

        return lax.fori_loop(0, tiles * batch, one_tile, carry), None

    first = jnp.arange(len(lowest), dtype=jnp.int32) * tiling.block
    return lax.scan(one_block, carry, (first, jnp.asarray(lowest), jnp.asarray(weights)))[0]
