"""Convolutions of images and clips, in the form that is fastest for their window."""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from tal_jax.encoders.convolve_gradients import with_gradients
from tal_jax.ops.by_platform import by_platform
from tal_jax.types import Array

AXES = "FYX"
Axes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


def convolve(
    x: Float[Array, "B *axes C"],
    kernel: Float[Array, "*window I O"],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    groups: int = 1,
) -> Float[Array, "B *_ O"]:
    """The convolution of x with a kernel over all its axes, as PyTorch and JAX define it (a cross-correlation).

    Args:
      x: images or clips, channels last.
      kernel: its window's axes are those of x between batch and channels; I = C / groups.
      strides: of every axis.
      padding: zeros before and after every axis.
      groups: channels are cut into as many groups, which do not see each other.
    """
    pairs = tuple((before, after) for before, after in padding)
    return with_gradients(_formed, jnp.asarray(x), jnp.asarray(kernel), tuple(strides), pairs, groups)


def _formed(x: Array, kernel: Array, strides: Axes, padding: Pairs, groups: int) -> Array:
    if groups == 1 and math.prod(kernel.shape[:-2]) == 1 and not any(map(sum, padding)):
        seen = x[(slice(None), *(slice(None, None, s) for s in strides))]
        return seen @ kernel.reshape(kernel.shape[-2:])
    if groups == x.shape[-1] == kernel.shape[-1]:
        return by_platform(
            functools.partial(_shifted, strides=strides, padding=padding),
            functools.partial(_convolution, strides=strides, padding=padding, groups=groups),
            jnp.asarray(x),
            jnp.asarray(kernel),
        )
    whole = functools.partial(_convolution, strides=strides, padding=padding, groups=groups)
    if groups == 1 and strides == kernel.shape[:-2] and not any(map(sum, padding)):
        return by_platform(_patch_by_patch, whole, jnp.asarray(x), jnp.asarray(kernel))
    if groups > 1:
        by_group = functools.partial(_group_by_group, strides=strides, padding=padding, groups=groups)
        return by_platform(by_group, whole, jnp.asarray(x), jnp.asarray(kernel))
    if len(strides) < 3:
        return whole(x, kernel)
    over_time = kernel.shape[1:3] == (1, 1)
    if over_time and strides[0] > 1:
        return whole(x, kernel)
    form = functools.partial(_tap_by_tap if over_time else _image_by_image, strides=strides, padding=padding)
    return by_platform(form, whole, jnp.asarray(x), jnp.asarray(kernel))


def _convolution(x: Array, kernel: Array, strides: Axes, padding: Pairs, groups: int) -> Array:
    axes = AXES[-(x.ndim - 2) :]
    return jax.lax.conv_general_dilated(
        jnp.asarray(x),
        jnp.asarray(kernel),
        strides,
        padding,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=groups,
    )


def _group_by_group(x: Array, kernel: Array, strides: Axes, padding: Pairs, groups: int) -> Array:
    """A convolution in groups as one for each of them.

    On CPUs XLA takes 2.5 to 4.7 times as long for all at once (two cores, two groups with 3 x 3 as ResNeSt-50 has:
    [8, 56, 56, 64] to 128 channels 81 ms against 32, [8, 7, 7, 512] to 1024 91 against 19), and 3 to 7 for gradients.
    """
    inputs, outputs = jnp.split(x, groups, -1), jnp.split(kernel, groups, -1)
    parts = [convolve(*pair, strides, padding) for pair in zip(inputs, outputs, strict=True)]
    return jnp.concatenate(parts, -1)


def _patch_by_patch(x: Array, kernel: Array) -> Array:
    """A convolution whose windows touch and do not overlap, as one product of patches with the kernel.

    On CPUs VideoMAE-B with two blocks, whose patches are 2 x 16 x 16, takes 0.86 of the time of the convolution.
    """
    window = kernel.shape[:-2]
    counts = [n // k for n, k in zip(x.shape[1:-1], window, strict=True)]
    x = x[(slice(None), *(slice(n * k) for n, k in zip(counts, window, strict=True)))]
    x = x.reshape(x.shape[0], *itertools.chain(*zip(counts, window, strict=True)), x.shape[-1])
    places, within = range(1, 2 * len(window), 2), range(2, 2 * len(window) + 1, 2)
    patches = x.transpose(0, *places, *within, x.ndim - 1).reshape(x.shape[0], *counts, -1)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _image_by_image(x: Array, kernel: Array, strides: Axes, padding: Pairs) -> Array:
    """A convolution of clips as one of images: the images that a window sees lie side by side in the channels.

    On CPUs XLA takes 1.1 to 13 times as long for three axes at once (two cores, [1, 32, 256, 256, 3] with 5 x 7 x 7 to
    8 channels: 2,850 ms against 210; [1, 8, 64, 64, 80] with 1 x 3 x 3 to 64: 80 against 49).
    """
    taps = kernel.shape[0]
    if any(padding[0]):
        x = jnp.pad(x, ((0, 0), padding[0], *((0, 0),) * 3))
    count = (x.shape[1] - taps) // strides[0] + 1
    seen = [x[:, i : i + (count - 1) * strides[0] + 1 : strides[0]] for i in range(taps)]
    images = (seen[0] if taps == 1 else jnp.concatenate(seen, -1)).reshape(-1, *x.shape[2:4], taps * x.shape[4])
    by_image = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
    y = convolve(images, by_image, strides[1:], padding[1:])
    return y.reshape(x.shape[0], count, *y.shape[1:])


def _tap_by_tap(x: Array, kernel: Array, strides: Axes, padding: Pairs) -> Array:
    """A convolution over time alone, without stride there, as a sum of products.

    On CPUs XLA takes 1.1 to 2.2 times as long for the convolution itself (two cores, [1, 8, 16, 16, 1024] with 3 taps
    to 256 channels: 44 ms against 34; [1, 32, 16, 16, 128] to 32: 9.2 against 4.2).
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))[:, :, :: strides[1], :: strides[2]]
    count = x.shape[1] - kernel.shape[0] + 1
    y = x[:, :count] @ kernel[0, 0, 0]
    for i in range(1, kernel.shape[0]):
        y = y + x[:, i : i + count] @ kernel[i, 0, 0]
    return y


def _shifted(x: Array, kernel: Array, strides: Axes, padding: Pairs) -> Array:
    """A convolution within each channel, as a sum over the window of shifted images: one multiplication each.

    On CPUs XLA takes 4 to 30 times as long for the convolution itself (two cores, [8, 112, 112, 32] with 3 x 3: 204 ms
    against 7; [8, 14, 14, 672] with 5 x 5 and stride 2: 16 against 3).
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    window = kernel.shape[:-2]
    sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:-1], window, strides, strict=True)]
    total: Array | None = None
    for place in itertools.product(*map(range, window)):
        cut = tuple(slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(place, sizes, strides, strict=True))
        part = x[(slice(None), *cut)] * kernel[(*place, 0)].reshape((1,) * (x.ndim - 1) + (-1,))
        total = part if total is None else total + part
    assert total is not None
    return total
