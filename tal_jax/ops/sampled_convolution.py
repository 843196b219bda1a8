"""The first convolution of a stack on a sampled sequence, without the sampled sequence.

Interpolation and convolution are both linear and act on different axes, so they commute: with Y_k = x W_k for each tap
k of the kernel, output j is sum_k of Y_k interpolated at the point that tap k reads. The sequence is shared by all
proposals, so its T projections are far fewer than the sampled points.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from tal_jax.ops.by_platform import by_platform
from tal_jax.ops.convolution import conv1d
from tal_jax.ops.sampling import interpolate
from tal_jax.types import Array

# Outputs whose gradients are weighted and added up at a time: they stay in the cache. Measured on a CPU: 512 to 1,280
# are alike, everything at once takes eight times as long.
CHUNK = 512


def halving_at(
    x: Float[Array, "B T C"],
    kernels: Sequence[Float[Array, "3 C//{groups} _"]],
    positions: Float[Array, "B P S"],
    parts: Sequence[slice],
    *,
    groups: int = 1,
) -> list[tuple[Float[Array, "{groups} B*P _ _"], Float[Array, "{groups} B*P _ _"]]]:
    """The first convolutions of several stacks, with stride 2 and padding 1, on parts of the same sampled points.

    On CPUs, where gathers of rows are cheap, by `conv1d_at`; elsewhere the points are interpolated once, and every part
    is a slice of them.

    Args:
      x: sequences; padding must be zero.
      kernels: as in `conv1d`, [3, C / groups, O] each.
      positions: in snippet units; constants for differentiation.
      parts: of the S points, one for every kernel; an even number n of points each.
      groups: of channels.

    Returns:
      For every kernel the even and the odd outputs, [groups, B P, n / 4, O / groups] each in x's dtype, as
      `ops.convolution.halving_by_group` takes them.
    """

    def apart(x: Array, kernels: tuple[Array, ...], positions: Array) -> list[tuple[Array, Array]]:
        count = positions.shape[0] * positions.shape[1]

        def every_second(kernel: Array, at: Array, padding: int) -> Array:
            # Every second output of a convolution with stride 2: stride 4.
            y = conv1d_at(x, kernel, at, stride=4, padding=padding, groups=groups)
            return y.reshape(groups, count, -1, y.shape[-1])

        at = [positions[:, :, part] for part in parts]
        return [(every_second(k, p, 1), every_second(k, p[:, :, 1:], 0)) for k, p in zip(kernels, at, strict=True)]

    def together(x: Array, kernels: tuple[Array, ...], positions: Array) -> list[tuple[Array, Array]]:
        points = interpolate(x, positions)
        found = []
        for kernel, part in zip(kernels, parts, strict=True):
            y = conv1d(points[:, :, part], kernel, stride=2, padding=1, groups=groups, implementation="lax")
            y = y.reshape(y.shape[0] * y.shape[1], -1, 2, groups, y.shape[-1] // groups)
            y = y.transpose(2, 3, 0, 1, 4)  # [2, groups, B P, n / 4, O / groups]
            found.append((y[0], y[1]))
        return found

    return by_platform(apart, together, x, tuple(kernels), constants=(positions,))


def conv1d_at(
    x: Float[Array, "B T C"],
    kernel: Float[Array, "taps C//{groups} O"],
    positions: Float[Array, "B P S"],
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> Float[Array, "{groups} B*P*((S+2*{padding}-taps)//{stride}+1) O//{groups}"]:
    """`conv1d(interpolate(x, positions), kernel, ..)`, channel groups first, without the sampled sequence.

    Args:
      x: sequences; padding must be zero.
      kernel: as in `conv1d`.
      positions: in snippet units; constants for differentiation.
      stride, padding, groups: as in `conv1d`; the convolution runs over the S points of each of P proposals.

    Returns:
      Outputs in x's dtype: group by group, as `ops.convolution` has forms for, and flat. (Gathered
      rows that are reshaped within a row of channels are gathered element by element by XLA on CPUs.)
    """
    b, t, c = x.shape
    taps, _, out = kernel.shape
    count = (positions.shape[2] + 2 * padding - taps) // stride + 1
    positions = lax.stop_gradient(positions)
    # A zero row before and after every sequence: what lies outside counts as zero.
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0))).reshape(b * (t + 2), groups, c // groups).transpose(1, 0, 2)
    by_group = kernel.reshape(taps, c // groups, groups, out // groups).transpose(2, 1, 0, 3)  # [G, C / G, K, O / G]
    # All taps of a snippet next to each other, so that a row of Y is contiguous: XLA would otherwise leave the product
    # transposed and gather its columns.
    y = jnp.matmul(padded, by_group.reshape(groups, c // groups, -1)).reshape(groups, -1, out // groups)
    rows, weights = _rows_and_weights(positions, t, taps, stride, padding, count)
    return _weighted_rows(y, rows, weights, taps)


def _rows_and_weights(
    positions: Array, t: int, taps: int, stride: int, padding: int, count: int
) -> tuple[Array, Array]:
    """For every tap and output [K, B P N']: the row of Y just before the point; weights [2, ..] of it and the next.

    Rows are (recording, snippet + 1, tap). Taps beyond the first or last point have no weight: zero padding.
    """
    b, _, n = positions.shape
    at = np.arange(count)[None, :] * stride + np.arange(taps)[:, None] - padding  # [K, N']
    inside = jnp.asarray((at >= 0) & (at < n), jnp.float32)[:, None, None, :]
    point = jnp.moveaxis(positions[:, :, np.clip(at, 0, n - 1)], 2, 0).astype(jnp.float32)  # [K, B, P, N']
    point = jnp.clip(point - 0.5, -1.0, float(t))
    low = jnp.minimum(jnp.floor(point), t - 1.0)
    after = point - low
    snippet = low.astype(jnp.int32) + 1 + (t + 2) * jnp.arange(b, dtype=jnp.int32).reshape(1, b, 1, 1)
    rows = snippet * taps + jnp.arange(taps, dtype=jnp.int32).reshape(taps, 1, 1, 1)
    weights = jnp.stack([(1.0 - after) * inside, after * inside])
    return rows.reshape(taps, -1), weights.reshape(2, taps, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _weighted_rows(y: jax.Array, rows: Array, weights: Array, step: int) -> Array:
    """sum over taps k of weights[0, k] y[:, rows[k]] + weights[1, k] y[:, rows[k] + step]: [G, R, O] -> [G, Q, O]."""
    groups, r, out = y.shape
    flat = y.reshape(-1, out)

    def add_up(found: Array, chunk: int | Array) -> tuple[Array, None]:
        first, size, index, weight, _ = _chunk(rows, weights, chunk, groups, r)
        total = jnp.zeros((), y.dtype)
        for k, side in itertools.product(range(len(rows)), range(2)):
            part = flat.at[index[:, k].ravel() + side * step].get(mode="promise_in_bounds")
            total = total + part.reshape(groups, size, out) * weight[side, k].astype(y.dtype)[None, :, None]
        return lax.dynamic_update_slice(found, total, (0, first, 0)), None

    return _over_chunks(add_up, jnp.zeros((groups, rows.shape[1], out), y.dtype), rows.shape[1])


def _forward(y: Array, rows: Array, weights: Array, step: int) -> tuple[Array, Any]:
    return _weighted_rows(y, rows, weights, step), (y.shape, rows, weights)


def _backward(step: int, saved: Any, cotangent: Array) -> tuple[Array, None, None]:
    (groups, r, out), rows, weights = saved

    def add(d_y: jax.Array, chunk: int | Array) -> tuple[Array, None]:
        first, size, index, weight, new = _chunk(rows, weights, chunk, groups, r)
        part = lax.dynamic_slice(cotangent, (0, first, 0), (groups, size, out)).astype(jnp.float32)
        weight = weight * new
        for side in range(2):
            update = part[:, None] * weight[side][None, :, :, None]
            d_y = d_y.at[index.ravel() + side * step].add(update.reshape(-1, out), mode="promise_in_bounds")
        return d_y, None

    d_y = _over_chunks(add, jnp.zeros((groups * r, out), jnp.float32), rows.shape[1])
    return d_y.reshape(groups, r, out).astype(cotangent.dtype), None, None


_weighted_rows.defvjp(_forward, _backward)


def _over_chunks(body: Callable[[Any, int | Array], tuple[Array, None]], carry: Array, queries: int) -> Array:
    chunks = -(-queries // CHUNK)
    if chunks == 1:
        return body(carry, 0)[0]
    return lax.scan(body, carry, jnp.arange(chunks, dtype=jnp.int32))[0]


def _chunk(
    rows: Array, weights: Array, chunk: int | Array, groups: int, r: int
) -> tuple[Array, int, Array, Array, Array]:
    """Part of the queries: the first one, how many, their rows [G, K, size] in Y with its groups as one axis, weights.

    The last chunk begins earlier than it should, so that all are of one size; the last value, 0 or 1, says which of its
    queries were not in the chunk before.
    """
    taps, queries = rows.shape
    size = min(CHUNK, queries)
    first = jnp.minimum(jnp.asarray(chunk, jnp.int32) * CHUNK, queries - size)
    new = (jnp.arange(size) + first >= chunk * CHUNK).astype(jnp.float32).reshape(1, 1, -1)
    row = lax.dynamic_slice(rows, (0, first), (taps, size))
    # Groups and rows as one axis: gathered along the middle axis, the result would come out transposed.
    index = row[None] + r * jnp.arange(groups, dtype=jnp.int32).reshape(-1, 1, 1)
    return first, size, index, lax.dynamic_slice(weights, (0, 0, first), (2, taps, size)), new
