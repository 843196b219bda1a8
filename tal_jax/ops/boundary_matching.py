"""BMN's boundary-matching layer: every (start, duration) cell's features, at evenly spread points around its segment.

Cell (t, d) is the segment [t, t + d + 1): with s = t, e = t + d, L = d + 1 the layer samples `bins x points` positions
from s - L/2 to e + L/2 inclusive on the snippet grid, interpolates linearly, drops neighbours outside the sequence, and
averages the points of each bin (Lin et al. 2019, arXiv:1907.09702, section 4.2). A convolution over the bins follows.

The sampled offsets depend on (d, bin) only, never on t. So the layer is, per duration, a short dense matrix over the
shifted sequence, and the T x (bins T T) matrix of the published code is never built.

The published ports sample a little differently, which `sampling` names:
  "": as defined above.
  "truncated": positions are truncated towards zero, so a point between -1 and 0 counts snippet 0 in full (MMAction2).
  "truncated_longer": the same, and segments end one snippet later, e = t + d + 1, L = d + 2 (JJBOY).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Float32, Shaped

from tal_jax.ops.boundary_matching_cpu import Tiling, matched_by_tiles
from tal_jax.ops.by_platform import by_platform
from tal_jax.types import Array

Head = Callable[[Any, Array], Array]
SAMPLINGS = ("", "truncated", "truncated_longer")


def _points(first: int, last: int, bins: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Where durations first..last-1 are sampled, relative to the start: whole part and fraction, [D, bins points]."""
    d = np.arange(first, last)[:, None]
    length = d + 1
    i = np.arange(bins * points)[None, :]
    q = -length / 2 + (d + length) * i / (bins * points - 1)
    low = np.floor(q).astype(np.int64)
    return low, q - low


@functools.lru_cache(maxsize=256)
def bin_weights(
    first: int, last: int, bins: int, points: int
) -> tuple[int, Float32[np.ndarray, "O {last-first} {bins}"]]:
    """Interpolation weights of durations first..last-1.

    Returns:
      (lowest offset o, weights): bin n of cell (t, d) is sum_i weights[i, d, n] x[t + o + i].
    """
    low, fraction = _points(first, last, bins, points)
    offset = int(low.min())
    weights = np.zeros((int(low.max()) + 2 - offset, last - first, bins * points))
    rows, columns = np.indices(low.shape)
    np.add.at(weights, (low - offset, rows, columns), 1 - fraction)
    np.add.at(weights, (low + 1 - offset, rows, columns), fraction)
    return offset, weights.reshape(*weights.shape[:2], bins, points).mean(-1).astype(np.float32)


def longer_bin_weights(
    first: int, last: int, bins: int, points: int
) -> tuple[int, Float32[np.ndarray, "O {last-first} {bins}"]]:
    """`bin_weights` of segments that are one snippet longer: those of the next duration."""
    return bin_weights(first + 1, last + 1, bins, points)


@functools.lru_cache(maxsize=8)
def truncation_weights(
    snippets: int, durations: int, bins: int, points: int, longer: bool
) -> Float32[np.ndarray, "{snippets} {durations} {bins}"]:
    """What truncation adds to every bin, times snippet 0.

    Interpolation gives a point at -f, 0 < f < 1, the weight 1 - f on snippet 0; truncated, it counts in full.
    """
    weights = np.zeros((snippets, durations, bins), np.float32)
    start = np.arange(snippets)[:, None]
    for d in range(durations):
        end = start + d + longer
        length = end - start + 1
        low, high = start - length / 2, end + length / 2
        at = low + (high - low) / (bins * points - 1) * np.arange(bins * points)[None, :]  # [T, bins * points]
        weights[:, d] = np.where((at > -1) & (at < 0), -at, 0.0).reshape(snippets, bins, points).mean(-1)
    return weights


def identity(params: Any, cells: Float[Array, "*cells H"]) -> Float[Array, "*cells H"]:
    """The head that changes nothing."""
    del params
    return cells


def boundary_matching(
    x: Float[Array, "B T P"],
    kernel: Float[Array, "{bins} P H"],
    *,
    durations: int,
    bins: int = 32,
    points: int = 3,
    head: Head = identity,
    head_params: Any = (),
    sampling: str = "",
    implementation: str = "auto",
    block: int = 8,
    starts: int = 20,
) -> Float[Array, "B T {durations} O"]:
    """Samples every cell and projects its bins: the boundary-matching layer and the (bins, 1, 1) convolution after it.

    Args:
      x: sequences; padding must be zero.
      kernel: the convolution over the bins.
      durations: D, the number of durations; cell d lasts d + 1 snippets.
      bins: sampled bins of a cell.
      points: interpolated points averaged in each bin.
      head: what follows cell by cell, (head_params, [.., H]) -> [.., O]; a function of module level. Given here, the
        wide features [B, T, D, H] need never be in memory all at once.
      head_params: its parameters, a tree of arrays.
      sampling: "", "truncated" or "truncated_longer", see above.
      implementation: `sampled` samples a block of durations and projects the samples. `projected` projects the sequence
        first, as the projection is linear, and sums its shifted rows tile by tile: a fifth of the operations, and no
        work on cells beyond the end. `auto`: `projected` on CPUs, where it was measured to be faster, else `sampled`.
      block: durations computed together.
      starts: starts computed together, of `projected` alone.

    Returns:
      Features of every cell. Those with t + d >= T are zero before the head.
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling is one of {SAMPLINGS}, not {sampling!r}")
    longer = sampling == "truncated_longer"
    at_zero = truncation_weights(x.shape[1], durations, bins, points, longer) if sampling else None
    weigh = longer_bin_weights if longer else bin_weights
    # No more than there are: a small map would be mostly the padding of its last tile.
    block, starts = min(block, durations), min(starts, x.shape[1])
    sizes: dict[str, Any] = {"durations": durations, "bins": bins, "points": points, "block": block}
    sampled = functools.partial(_sampled, **sizes, head=head, longer=longer)
    projected = functools.partial(matched_by_tiles, Tiling(**sizes, starts=starts), weigh, head)
    if implementation == "auto":
        return by_platform(projected, sampled, x, kernel, head_params, constants=(at_zero,))
    if implementation not in ("projected", "sampled"):
        raise ValueError(f"implementation is 'auto', 'projected' or 'sampled', not {implementation!r}")
    return (projected if implementation == "projected" else sampled)(x, kernel, head_params, at_zero)


def _sampled(
    x: Array,
    kernel: Array,
    head_params: Any,
    at_zero: Array | None,
    *,
    durations: int,
    bins: int,
    points: int,
    head: Head,
    longer: bool,
    block: int,
) -> Array:
    """Samples by dense matrices, of `block` durations at a time; each is used for all recordings and made on the way.

    Nothing of a block is kept for the gradients: its samples [B, T, block, bins, P] are far larger than the result.
    """
    b, t, _ = x.shape
    blocks = -(-durations // block)
    low, fraction = _points(int(longer), int(longer) + blocks * block, bins, points)
    parts: list[Any] = [
        z.reshape(blocks, block, bins, points) for z in (low.astype(np.int32), fraction.astype(np.float32))
    ]
    first = np.arange(blocks, dtype=np.int32) * block
    if at_zero is not None:
        more = jnp.pad(at_zero, ((0, 0), (0, blocks * block - durations), (0, 0)))
        parts.append(jnp.moveaxis(more.reshape(t, blocks, block, bins), 1, 0))
    snippet = jnp.arange(t, dtype=jnp.int32)
    ahead = snippet[None, :] - snippet[:, None]  # [T, S], of a snippet from the start

    @jax.checkpoint
    def one_block(own: tuple[Array, ...]) -> Array:
        first, low, fraction, *further = own
        distance = ahead[:, :, None, None, None] - low[None, None]
        fraction = fraction[None, None]
        both = jnp.where(distance == 0, 1.0 - fraction, 0.0) + jnp.where(distance == 1, fraction, 0.0)
        weights = jnp.mean(both, axis=-1)  # [T, S, block, bins]
        if further:
            weights += jnp.where((snippet == 0)[None, :, None, None], further[0][:, None], 0.0)
        sampled = jnp.einsum("tsdn,bsp->btdnp", weights.astype(x.dtype), x)
        cells = jnp.einsum("btdnp,nph->btdh", sampled, kernel)
        inside = snippet[:, None] + first + jnp.arange(block, dtype=jnp.int32)[None, :] < t
        return head(head_params, jnp.where(inside[None, :, :, None], cells, jnp.zeros((), x.dtype)))

    cells = lax.map(one_block, (first, *parts))  # [blocks, B, T, block, O]
    return jnp.moveaxis(cells, 0, 2).reshape(b, t, blocks * block, -1)[:, :, :durations]


def cell_segments(snippets: int, durations: int) -> Float32[np.ndarray, "{snippets} {durations} 2"]:
    """The segment [t, t + d + 1) of every cell, in snippet units."""
    start = np.broadcast_to(np.arange(snippets, dtype=np.float32)[:, None], (snippets, durations))
    return np.stack([start, start + np.arange(1, durations + 1, dtype=np.float32)[None, :]], axis=-1)


def by_end(x: Shaped[Array, "B T T *C"], empty: Shaped[Array, "..."]) -> Shaped[Array, "B T T *C"]:
    """A map over (start, duration) laid out over (start, end): cell (t, e) is cell (t, e - t) of x.

    Args:
      x: the map; cells beyond the end of the sequence get lost.
      empty: what cells with e < t hold; broadcasts to x.

    Returns:
      The map over (start, end).
    """
    b, t = x.shape[:2]
    # Rows of 2 T - 1 out of rows of 2 T: every row begins one element later in its own.
    rows = jnp.concatenate([x, jnp.broadcast_to(empty, x.shape)], axis=2).reshape(b, 2 * t * t, *x.shape[3:])
    return rows[:, : t * (2 * t - 1)].reshape(b, t, 2 * t - 1, *x.shape[3:])[:, :, :t]


def by_duration(x: Shaped[Array, "B T T *C"]) -> Shaped[Array, "B T T *C"]:
    """The inverse of `by_end`; cells beyond the end of the sequence are zero."""
    b, t = x.shape[:2]
    rows = jnp.pad(x, [(0, 0), (0, 0), (0, t)] + [(0, 0)] * (x.ndim - 3)).reshape(b, 2 * t * t, *x.shape[3:])
    rows = jnp.pad(rows, [(0, 0), (0, t)] + [(0, 0)] * (x.ndim - 3))
    return rows.reshape(b, t, 2 * t + 1, *x.shape[3:])[:, :, :t]


def valid_cells(mask: Bool[Array, "B T"], durations: int) -> Bool[Array, "B T {durations}"]:
    """Cells whose last snippet t + d is real."""
    t = mask.shape[1]
    padded = jnp.pad(mask, ((0, 0), (0, durations)))
    return mask[:, :, None] & padded[:, np.arange(t)[:, None] + np.arange(durations)[None, :]]
