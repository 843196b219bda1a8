"""Convolution with three taps by minimal filtering: Winograd's F(4, 3) (Lavin and Gray 2015, arXiv:1509.09308).

Four outputs of a three-tap filter need twelve products, but six suffice: y = A^T [(G g) * (B^T d)] for six inputs d and
taps g. For C channels into O, each of the six products is a matrix product [tiles, C] x [C, O], so half of the
operations of the direct form are left; what is added is linear in the size of input and output. Rounding errors are
about ten times those of the direct form, a few 1e-6 in float32.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Float32

from tal_jax.types import Array

OUTPUTS, INPUTS, TAPS = 4, 6, 3
_B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / np.float32(24)
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv1d_winograd(
    x: Float32[Array, "B T C"], kernel: Float32[Array, "3 C O"], dilation: int
) -> Float32[Array, "B T O"]:
    """Convolution of the same length, zeros beyond both ends."""
    b, t, _ = x.shape
    out = kernel.shape[-1]
    tiles, count = _transformed(x, dilation)
    filters = _transformed_kernel(kernel)
    products = [jnp.matmul(tile, f) for tile, f in zip(tiles, filters, strict=True)]
    y = jnp.stack([_combine(row, products).reshape(b, count, dilation, out) for row in _A], axis=2)
    return y.reshape(b, -1, out)[:, :t]


def _forward(x: Array, kernel: Array, dilation: int) -> tuple[Array, tuple[Array, Array]]:
    return conv1d_winograd(x, kernel, dilation), (x, kernel)


def _backward(dilation: int, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = saved
    b, t, out = cotangent.shape
    c = x.shape[-1]
    # Computed again rather than kept: the six transforms are half as large again as the input.
    tiles, count = _transformed(x, dilation)
    outputs = _padded(cotangent, count, dilation).reshape(b, count, OUTPUTS, dilation, out)
    # The cotangents of the six products, which both gradients read.
    spread = [_combine(column, [outputs[:, :, j] for j in range(OUTPUTS)]).reshape(-1, out) for column in _A.T]
    d_filters = [jnp.matmul(_turned(tile), s) for tile, s in zip(tiles, spread, strict=True)]
    filters = _transformed_kernel(kernel)
    d_tiles = [jnp.matmul(s, f.T).reshape(b, count, dilation, c) for s, f in zip(spread, filters, strict=True)]
    before, *inputs, after = (_combine(column, d_tiles) for column in _B.T)
    # What a tile gives to the last input of the tile before and to the first input of the tile after.
    edge = jnp.zeros((b, 1, dilation, c), x.dtype)
    inputs[-1] += jnp.concatenate([before[:, 1:], edge], axis=1)
    inputs[0] += jnp.concatenate([edge, after[:, :-1]], axis=1)
    d_x = jnp.stack(inputs, axis=2).reshape(b, -1, c)[:, :t]
    return d_x, jnp.stack([_combine(column, d_filters) for column in _G.T])


conv1d_winograd.defvjp(_forward, _backward)


def _transformed(x: Array, dilation: int) -> tuple[list[Array], int]:
    """B^T d: six arrays [B tiles dilation, C], and how many tiles a sequence has.

    With a dilation, neighbours are `dilation` snippets apart: that many interleaved sequences.
    """
    b, t, c = x.shape
    count = -(-t // (OUTPUTS * dilation))
    own = _padded(x, count, dilation).reshape(b, count, OUTPUTS, dilation, c)
    inputs = [own[:, :, j] for j in range(OUTPUTS)]
    # The first input of a tile is the last one of the tile before, the last input the first one of the tile after.
    edge = jnp.zeros((b, 1, dilation, c), x.dtype)
    before = jnp.concatenate([edge, inputs[-1][:, :-1]], axis=1)
    after = jnp.concatenate([inputs[0][:, 1:], edge], axis=1)
    return [_combine(row, [before, *inputs, after]).reshape(-1, c) for row in _B], count


def _turned(x: Array) -> Array:
    """x [M, N] -> [N, M], copied by itself.

    XLA:CPU multiplies a transposed left side two fifths slower, and transposes ten times slower while it computes what
    it transposes. A function that is not inlined prevents both; backends may ignore that wish.
    """
    with set_xla_metadata(inlineable="false"):
        return jax.jit(jnp.transpose, inline=False)(x)


def _padded(x: Array, count: int, dilation: int) -> Array:
    """Zeros up to that many whole tiles."""
    missing = count * OUTPUTS * dilation - x.shape[1]
    return jnp.pad(x, ((0, 0), (0, missing), (0, 0))) if missing else x


def _transformed_kernel(kernel: Array) -> list[Array]:
    return [_combine(row, [kernel[k] for k in range(TAPS)]) for row in _G]


def _combine(weights: np.ndarray, terms: Sequence[Array]) -> Any:
    """The weighted sum, without the terms whose weight is zero."""
    parts = [term * np.float32(w) for w, term in zip(weights, terms, strict=True) if w]
    return functools.reduce(jnp.add, parts)
