"""Gradients of convolutions on CPUs, made of what XLA is fast at there: matrix products and sums of shifted images.

XLA's own gradient towards the kernel is a convolution whose window is the whole image and whose contracted axis is the
batch. One thread, 16 images, 3.7 GFLOP each, in ms (own / here, all images at once / PyTorch): 56 x 56, 64 channels to
64, 3 x 3: 154 / 94 / 69; 28 x 28, 128 to 128: 133 / 76 / 60; 14 x 14, 256 to 256: 136 / 70 / 56; 7 x 7, 512 to 512: 72
/ 68 / 71; 224 x 224, 3 to 64, 7 x 7 with stride 2: 432 / 133 / 90. All window places in one product, from columns laid
side by side, takes 1.1 to 2.7 times as long from 14 x 14 on. Through the product of a 1 x 1 convolution JAX's own
gradient contracts three axes, which XLA lays out anew while it computes them: an eighth of a step of a ResNet-50.

A step of TSM's ResNet-50 with two clips of 8 images takes 9.3 s of one thread, 13.4 with XLA's own gradients; one of
EfficientNet-Lite0 with 16 images 1.6 s, 3.2 before.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tal_jax.types import Array

Axes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Form = Callable[[Array, Array, Axes, Pairs, int], Array]
FEW_GROUPS = 4  # that are taken one after the other
FEW_CHANNELS = 16  # up to which a product for each place of the window is too narrow
FEW_PLACES = 64  # of an image, up to which products beat the convolution: 7 x 7, 512 to 512: 62 ms against 42
PIECE = 2**20  # numbers in the images that are taken at once: 4 MB, so that shifted copies stay in the cache


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3, 4, 5))
def with_gradients(form: Form, x: Array, kernel: Array, strides: Axes, padding: Pairs, groups: int) -> Array:
    """`form(x, kernel, strides, padding, groups)`, a convolution as of `convolve`, with other gradients on CPUs.

    On all other platforms they are those of the form.
    """
    return form(x, kernel, strides, padding, groups)


def _forward(form: Form, x: Array, kernel: Array, strides: Axes, padding: Pairs, groups: int) -> tuple[Array, Any]:
    return form(x, kernel, strides, padding, groups), (x, kernel)


def _backward(
    form: Form, strides: Axes, padding: Pairs, groups: int, saved: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    how: Any = {"strides": strides, "padding": padding, "groups": groups}
    here = functools.partial(_gradients, form, **how)
    return lax.platform_dependent(*saved, cotangent, cpu=here, default=functools.partial(_own, form, **how))


with_gradients.defvjp(_forward, _backward)


def _own(
    form: Form, x: Array, kernel: Array, cotangent: Array, strides: Axes, padding: Pairs, groups: int
) -> tuple[Array, Array]:
    d_x, d_kernel = jax.vjp(lambda x, kernel: form(x, kernel, strides, padding, groups), x, kernel)[1](cotangent)
    return d_x, d_kernel


def _gradients(
    form: Form, x: Array, kernel: Array, cotangent: Array, strides: Axes, padding: Pairs, groups: int
) -> tuple[Array, Array]:
    window = kernel.shape[:-2]
    if groups == x.shape[-1] == kernel.shape[-1] > 1:
        if any(s > k for s, k in zip(strides, window, strict=True)):
            return _own(form, x, kernel, cotangent, strides, padding, groups)
        d_kernel = _piece_by_piece(_within_channels, x, cotangent, window, strides, padding)
        return (
            _phase_by_phase(form, kernel, cotangent, x.shape, strides, padding),
            d_kernel.reshape(kernel.shape).astype(kernel.dtype),
        )
    if 1 < groups <= FEW_GROUPS:
        parts = [
            _gradients(form, *part, strides=strides, padding=padding, groups=1)
            for part in zip(
                jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), jnp.split(cotangent, groups, -1), strict=True
            )
        ]
        return jnp.concatenate([part[0] for part in parts], -1), jnp.concatenate([part[1] for part in parts], -1)
    # Clips, and patches, have forms made of others that have their gradients.
    over_space = len(window) == 3 and math.prod(window[1:]) > 1
    if groups > 1 or over_space or (strides == window != (1,) * len(window) and not any(map(sum, padding))):
        return _own(form, x, kernel, cotangent, strides, padding, groups)
    if x.shape[-1] <= FEW_CHANNELS and math.prod(window) > 1:
        d_kernel = _piece_by_piece(_columns, x, cotangent, window, strides, padding)
    elif math.prod(window) > 1:
        d_kernel = _piece_by_piece(_products, x, cotangent, window, strides, padding)
    else:
        d_kernel = _products(x, cotangent, window, strides, padding)
    d_x = _towards_input(form, x, kernel, cotangent, strides, padding)
    return d_x, d_kernel.reshape(kernel.shape).astype(kernel.dtype)


def _towards_input(form: Form, x: Array, kernel: Array, cotangent: Array, strides: Axes, padding: Pairs) -> Array:
    """The cotangent through the kernel turned around; with a stride, one product for each place of the window.

    One thread, 14 x 14, 512 to 512, 3 x 3 with stride 2: 67 ms for XLA's own, 45 for products, 65 for a convolution of
    every phase of the stride; 28 x 28: 56, 65, 74; the convolution with 49 places of an image of 3 channels: 148, 401.
    """
    window = kernel.shape[:-2]
    beyond = tuple((k - 1 - p, k - 1 - q) for k, (p, q) in zip(window, padding, strict=True))
    plain = math.prod(strides) == 1 and min(itertools.chain(*beyond)) >= 0
    if plain and (math.prod(cotangent.shape[1:-1]) > FEW_PLACES or len(window) == 3 or math.prod(window) == 1):
        turned = jnp.flip(kernel, range(len(window))).swapaxes(-1, -2)
        return form(cotangent, turned, strides, beyond, 1)
    if x.shape[-1] <= FEW_CHANNELS and math.prod(window) > 1:
        (d_x,) = jax.vjp(lambda x: form(x, kernel, strides, padding, 1), x)[1](cotangent)
        return d_x
    wide = _wide(x)
    total: Array | None = None
    for place in itertools.product(*map(range, window)):
        part = _product(cotangent.reshape(-1, cotangent.shape[-1]), kernel[place].T)
        edges = [(0, 0, 0)]
        for at, pad, count, stride, size in zip(
            place, padding, cotangent.shape[1:-1], strides, x.shape[1:-1], strict=True
        ):
            before = at - pad[0]
            edges.append((before, size - before - ((count - 1) * stride + 1), stride - 1))
        part = lax.pad(part.reshape(*cotangent.shape[:-1], -1), jnp.zeros((), wide), [*edges, (0, 0, 0)])
        total = part if total is None else total + part
    assert total is not None
    return total.astype(x.dtype)


def _phase_by_phase(form: Form, kernel: Array, cotangent: Array, shape: Axes, strides: Axes, padding: Pairs) -> Array:
    """Towards the input within each channel: what lies at the same place modulo the stride sees the same places.

    One thread, 16 images, in ms (differentiated shifts / here / PyTorch): 14 x 14, 672 channels, 5 x 5: 36 / 9 / 9;
    28 x 28, 240, 5 x 5: 52 / 10 / 10; 112 x 112, 96, 3 x 3 with stride 2: 64 / 65 / 124, with zeros between 111.
    """
    parts = []
    for phase in itertools.product(*map(range, strides)):
        edges, taps = [(0, 0, 0)], []
        for at, (pad, _), k, stride, size, count in zip(
            phase, padding, kernel.shape, strides, shape[1:-1], cotangent.shape[1:-1], strict=False
        ):
            first, ahead = (at + pad) % stride, (at + pad) // stride
            seen = len(range(first, k, stride))
            before = seen - 1 - ahead
            edges.append((before, -(-size // stride) + seen - 1 - count - before, 0))
            taps.append(slice(first, None, stride))
        own = jnp.flip(kernel[tuple(taps)], range(len(taps)))
        seen_by = lax.pad(cotangent, jnp.zeros((), cotangent.dtype), [*edges, (0, 0, 0)])
        parts.append(form(seen_by, own, (1,) * len(strides), ((0, 0),) * len(strides), shape[-1]))
    # One axis after the other: transposed at once, it would be computed ten times slower with what follows.
    for axis in reversed(range(len(strides))):
        step = strides[axis]
        groups = [parts[i : i + step] for i in range(0, len(parts), step)]
        parts = [_interleaved(group, axis + 1) for group in groups]
    return parts[0][(slice(None), *map(slice, shape[1:-1]))]


def _interleaved(parts: list[Array], axis: int) -> Array:
    if len(parts) == 1:
        return parts[0]
    y = jnp.stack(parts, axis + 1)
    return y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])


def _piece_by_piece(
    towards_kernel: Callable[..., Array], x: Array, cotangent: Array, window: Axes, strides: Axes, padding: Pairs
) -> Array:
    """A sum over images, of as many at once as the cache holds.

    Within channels, one thread, all 16 images at once against pieces: 28 x 28, 240 channels, 5 x 5: 247 ms against 87;
    14 x 14, 672, 5 x 5: 183 against 47; 112 x 112, 96, 3 x 3 with stride 2: 156 against 50.
    """
    count = len(x)
    each = max(x.size, cotangent.size) // count
    size = max((n for n in range(1, count + 1) if count % n == 0 and n * each <= PIECE), default=1)
    if size == count:
        return towards_kernel(x, cotangent, window, strides, padding)

    def add(total: Any, piece: Any) -> Any:
        return total + towards_kernel(*piece, window, strides, padding), None

    pieces: Any = tuple(a.reshape(-1, size, *a.shape[1:]) for a in (x, cotangent))
    like = jax.eval_shape(lambda *p: towards_kernel(*p, window, strides, padding), *(p[0] for p in pieces))
    return lax.scan(add, jnp.zeros(like.shape, like.dtype), pieces)[0]


def _within_channels(x: Array, cotangent: Array, window: Axes, strides: Axes, padding: Pairs) -> Array:
    """A sum of what is multiplied for each place; the first axis of the window is a loop, which is compiled once."""
    wide = _wide(x)
    cotangent = cotangent.astype(wide)
    axes, counts = range(x.ndim - 1), cotangent.shape[1:-1]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0))).astype(wide)

    def row(first: Array) -> Array:
        rows = lax.dynamic_slice_in_dim(x, first, (counts[0] - 1) * strides[0] + 1, 1)
        return jnp.stack([(seen * cotangent).sum(axes) for seen in _cuts(rows, (1, *window[1:]), strides, counts, 1)])

    return lax.map(row, jnp.arange(window[0])).reshape(-1, x.shape[-1])


def _products(x: Array, cotangent: Array, window: Axes, strides: Axes, padding: Pairs) -> Array:
    """One product for each place of the window.

    A copy of the left side that is turned beforehand gains a fifth of a product of 256 channels or more by itself
    ([3136, 1024] with [3136, 256]: 34 ms against 29), and nothing of a step of a ResNet-50 (9.3 s of one thread both).
    """
    flat = cotangent.reshape(-1, cotangent.shape[-1])
    found = [part.reshape(-1, x.shape[-1]) for part in _seen(x, cotangent, window, strides, padding)]
    return jnp.stack([_product(part.T, flat) for part in found])


def _columns(x: Array, cotangent: Array, window: Axes, strides: Axes, padding: Pairs) -> Array:
    """One product of all that the window sees, channels and places first."""
    places = cotangent.size // cotangent.shape[-1]
    x = jnp.moveaxis(jnp.pad(x, ((0, 0), *padding, (0, 0))), -1, 0)
    rows = [part.reshape(-1, places) for part in _cuts(x, window, strides, cotangent.shape[1:-1], 2)]
    return _product(jnp.concatenate(rows), cotangent.reshape(places, -1))


def _seen(x: Array, cotangent: Array, window: Axes, strides: Axes, padding: Pairs) -> Iterator[Array]:
    """What every place of the window sees, of the shape of the cotangent but for the channels."""
    if any(map(sum, padding)):
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return _cuts(x, window, strides, cotangent.shape[1:-1], 1)


def _cuts(x: Array, window: Axes, strides: Axes, counts: Axes, before: int) -> Iterator[Array]:
    for place in itertools.product(*map(range, window)):
        cut = (slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(place, counts, strides, strict=True))
        yield x[(*(slice(None),) * before, *cut)]


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, preferred_element_type=_wide(a))


def _wide(x: Array) -> Any:
    """The type of sums: float32 at least."""
    return jnp.float32 if x.dtype.itemsize < 4 else x.dtype
