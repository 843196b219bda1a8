"""What optical flow asks of images: slopes, bilinear resizing, bicubic reading at any position, a 5 x 5 median.

Planes that go together, such as the two components of a flow, are one array [Y, N, X]: their rows lie side by side, so
one pass over memory serves all of them.
"""

import functools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float32, Int32

from tal_jax.types import Array

MARGIN = 4  # of a plane that is read: from 3 pixels outside on, all four taps in a direction are outside


def slopes(image: Float32[Array, "Y X"]) -> Float32[jax.Array, "Y 2 X"]:
    """Central differences in x and y; half the one-sided difference at the borders."""
    around = jnp.pad(image, 1, mode="edge")
    x, y = around[1:-1, 2:] - around[1:-1, :-2], around[2:, 1:-1] - around[:-2, 1:-1]
    return 0.5 * jnp.stack([x, y], axis=1)


def resized(
    planes: Float32[Array, "Y N X"], rows: int, columns: int, *, scale: float | None = None, corners: bool = False
) -> Float32[jax.Array, "{rows} N {columns}"]:
    """Bilinear resizing without blur.

    Args:
      planes: read at their nearest pixel outside.
      rows, columns: the new size.
      scale: pixels of the old size to one of the new; the ratio of the sizes if left out. They differ where a factor
        does not divide a size.
      corners: position i lies at i * scale, as in OpenCV's CUDA form, instead of (i + 1/2) * scale - 1/2.
    """
    old_rows, _, old_columns = planes.shape
    over_y = _interpolation(old_rows, rows, scale or old_rows / rows, corners)
    over_x = _interpolation(old_columns, columns, scale or old_columns / columns, corners)
    wide = jnp.einsum("ynx,zx->ynz", planes, over_x, precision=lax.Precision.HIGHEST)
    return jnp.einsum("ynz,wy->wnz", wide, over_y, precision=lax.Precision.HIGHEST)


def _interpolation(old: int, new: int, scale: float, corners: bool) -> np.ndarray:
    """The matrix [new, old] of linear interpolation."""
    at = np.arange(new) * scale if corners else (np.arange(new) + 0.5) * scale - 0.5
    at = np.clip(at.astype(np.float32), 0, old - 1)
    low = np.floor(at).astype(np.int32)
    matrix = np.zeros((new, old), np.float32)
    np.add.at(matrix, (np.arange(new), low), 1 - (at - low))
    np.add.at(matrix, (np.arange(new), np.minimum(low + 1, old - 1)), at - low)
    return matrix


def read_at(
    planes: Float32[Array, "N Y X"], moved: Float32[Array, "Y 2 X"], *, slope: float, outside: str
) -> Float32[jax.Array, "N Y X"]:
    """Planes at x + moved[:, 0], y + moved[:, 1] by bicubic interpolation (Keys 1981).

    Every tap is a slice of the plane read by one common index, of which the compiler makes one loop: three times as
    fast on CPUs as the same index with an offset added, and ten times as one read of a window of pixels. Planes follow
    each other in a loop, since of all taps in one program it keeps some as planes of their own.

    Args:
      planes: what is read.
      moved: how far from every pixel, x first.
      slope: of the kernel at distance 1, A: -0.75 or -0.5.
      outside: `zeros`, or `nearest`, the nearest pixel.
    """
    _, rows, columns = planes.shape
    x = jnp.arange(columns, dtype=jnp.float32)[None, :] + moved[:, 0]
    y = jnp.arange(rows, dtype=jnp.float32)[:, None] + moved[:, 1]
    left, above = jnp.floor(x), jnp.floor(y)
    over_x, over_y = _taps(x - left, slope), _taps(y - above, slope)
    wide = columns + 2 * MARGIN
    column = jnp.clip(left, 1 - MARGIN, columns + MARGIN - 3).astype(jnp.int32) + (MARGIN - 1)
    row = jnp.clip(above, 1 - MARGIN, rows + MARGIN - 3).astype(jnp.int32) + (MARGIN - 1)
    index = row * wide + column
    reach = (rows + 2 * MARGIN - 3) * wide - 3  # of a slice from any of the 16 offsets on

    def read(plane: Array) -> jax.Array:
        flat = jnp.pad(plane, MARGIN, mode="constant" if outside == "zeros" else "edge").ravel()

        def tap(i: int, j: int) -> jax.Array:
            start = i * wide + j
            return _items(lax.slice(flat, (start,), (start + reach,)), index)

        return _sum(over_y[i] * _sum(over_x[j] * tap(i, j) for j in range(4)) for i in range(4))

    return lax.map(read, planes)


def _items(values: Float32[Array, "N"], index: Int32[Array, "Y X"]) -> Float32[jax.Array, "Y X"]:
    """values[index], with no look at whether they are there."""
    numbers = lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))
    return lax.gather(values, index[..., None], numbers, (1,), mode="promise_in_bounds")


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, terms)


def _taps(fraction: jax.Array, slope: float) -> list[jax.Array]:
    """Weights of the four pixels around a position, which lies `fraction` behind the second one."""

    def near(t: jax.Array) -> jax.Array:  # of a pixel at distance t <= 1
        return ((slope + 2) * t - (slope + 3)) * t * t + 1

    t = fraction + 1
    first = ((slope * t - 5 * slope) * t + 8 * slope) * t - 4 * slope
    second, third = near(fraction), near(1 - fraction)
    return [first, second, third, 1 - first - second - third]


def smaller(a: Float32[Array, "*shape"], b: Float32[Array, "*shape"]) -> Float32[jax.Array, "*shape"]:
    """The minimum of numbers: one instruction on CPUs, where `jnp.minimum`, which takes care of NaN, is several."""
    return lax.select(a < b, a, b)


def larger(a: Float32[Array, "*shape"], b: Float32[Array, "*shape"]) -> Float32[jax.Array, "*shape"]:
    """The maximum of numbers, likewise."""
    return lax.select(b < a, a, b)


def median5(planes: Float32[Array, "Y N X"]) -> Float32[jax.Array, "Y N X"]:
    """The median of 5 x 5 pixels; outside the plane is its nearest pixel.

    The five pixels of every column are sorted once, for the five windows that it is in; of 25 pixels in sorted columns,
    then also in sorted rows, 13 can be the median, and only what it needs of their order is found.
    """
    rows, _, columns = planes.shape
    around = jnp.pad(planes, ((2, 2), (0, 0), (2, 2)), mode="edge")
    ranked = _exchanged([lax.slice_in_dim(around, i, i + rows) for i in range(5)], SORT5)
    window = [lax.slice_in_dim(plane, j, j + columns, axis=2) for plane in ranked for j in range(5)]
    return _exchanged(window, _median_of_columns())[MIDDLE]


SORT5 = ((0, 1), (3, 4), (2, 4), (2, 3), (0, 3), (0, 2), (1, 4), (1, 3), (1, 2))  # Knuth, volume 3, 5.3.4
MIDDLE = 12  # where the median of 25 comes to lie


def _exchanged(values: list[jax.Array], network: Sequence[tuple[int, int]]) -> list[jax.Array]:
    """Values after a network of exchanges, each of which puts the smaller one first."""
    values = values.copy()
    for i, j in network:
        values[i], values[j] = smaller(values[i], values[j]), larger(values[i], values[j])
    return values


@functools.cache
def _median_of_columns() -> tuple[tuple[int, int], ...]:
    """The exchanges that bring the median of 25 values to position MIDDLE, where columns are sorted: [rank, column].

    With rows sorted as well, value (r, c) has (r + 1)(c + 1) - 1 values that are no larger and (5 - r)(5 - c) - 1 that
    are no smaller; more than 12 of either, and it need not be the median.
    """
    rows = [(5 * r + i, 5 * r + j) for r in range(5) for i, j in SORT5]
    cells = [(r, c) for r in range(5) for c in range(5)]
    middle = [5 * r + c for r, c in cells if max((r + 1) * (c + 1), (5 - r) * (5 - c)) <= 13]
    assert middle[len(middle) // 2] == MIDDLE  # as many are known to be smaller as to be larger
    network = [*rows, *((middle[i], middle[j]) for i, j in _batcher(len(middle)))]
    needed, kept = {MIDDLE}, []
    for pair in reversed(network):
        if needed & {*pair}:
            kept.append(pair)
            needed |= {*pair}
    return tuple(reversed(kept))


def _batcher(n: int) -> list[tuple[int, int]]:
    """Exchanges that sort n values: Batcher's odd-even merges (Knuth, volume 3, 5.2.2, algorithm M)."""
    network = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        network.append((i + j, i + j + k))
            k //= 2
        p *= 2
    return network
