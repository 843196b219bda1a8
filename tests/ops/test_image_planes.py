"""Slopes, resizing, bicubic reading and the median, against plain NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.ops.image_planes import median5, read_at, resized, slopes


def image(rows, columns, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (rows, columns)).astype(np.float32)


def kernel(distance, slope):
    """Keys' cubic convolution."""
    t = abs(distance)
    if t <= 1:
        return (slope + 2) * t**3 - (slope + 3) * t**2 + 1
    return slope * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def read(plane, x, y, slope, outside):
    """The plane at (x, y) from its definition: all pixels within two of it, divided by the sum of their weights."""
    rows, columns = plane.shape
    total = weights = 0.0
    for i in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
        for j in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
            weight = kernel(x - j, slope) * kernel(y - i, slope)
            inside = 0 <= i < rows and 0 <= j < columns
            value = plane[min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)]
            total += weight * (value if inside or outside == "nearest" else 0.0)
            weights += weight
    return total / weights


def test_slopes():
    plane = image(5, 7)
    found = np.asarray(slopes(plane))
    np.testing.assert_allclose(found[:, 0, 1:-1], (plane[:, 2:] - plane[:, :-2]) / 2, rtol=1e-6)
    np.testing.assert_allclose(found[1:-1, 1], (plane[2:] - plane[:-2]) / 2, rtol=1e-6)
    np.testing.assert_allclose(found[:, 0, 0], (plane[:, 1] - plane[:, 0]) / 2, rtol=1e-6)
    np.testing.assert_allclose(found[-1, 1], (plane[-1] - plane[-2]) / 2, rtol=1e-6)


@pytest.mark.parametrize("outside", ["zeros", "nearest"])
@pytest.mark.parametrize("slope", [-0.75, -0.5])
def test_bicubic_reading(outside, slope):
    rng = np.random.default_rng(1)
    rows, columns = 9, 12
    planes = np.stack([image(rows, columns, 2), image(rows, columns, 3)])
    moved = rng.normal(0, 4, (rows, 2, columns)).astype(np.float32)  # over the borders too
    moved[0, :, :4] = [[0, 1, -1, 1e6], [0, 2, -3, -1e6]]  # whole pixels, and far away
    found = read_at(jnp.asarray(planes), jnp.asarray(moved), slope=slope, outside=outside)
    for plane, values in zip(planes, found, strict=True):
        x, y = np.arange(columns)[None, :] + moved[:, 0], np.arange(rows)[:, None] + moved[:, 1]
        expected = [[read(plane, x[i, j], y[i, j], slope, outside) for j in range(columns)] for i in range(rows)]
        np.testing.assert_allclose(values, np.array(expected), rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("corners", [False, True])
def test_resizing(corners):
    plane = image(11, 18)
    rows, columns, scale = 9, 14, 1.25
    found = resized(jnp.asarray(plane)[:, None], rows, columns, scale=scale, corners=corners)[:, 0]
    y, x = (np.arange(n) * scale if corners else (np.arange(n) + 0.5) * scale - 0.5 for n in (rows, columns))
    y, x = np.clip(y, 0, 10), np.clip(x, 0, 17)
    wide = np.stack([np.interp(x, np.arange(18), row) for row in plane])
    expected = np.stack([np.interp(y, np.arange(11), column) for column in wide.T], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_resizing_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    plane = image(51, 77)
    small = cv2.resize(plane, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resized(jnp.asarray(plane)[:, None], *small.shape, scale=1.25)[:, 0], small, rtol=1e-4)
    large = cv2.resize(small, (77, 51), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resized(jnp.asarray(small)[:, None], 51, 77)[:, 0], large, rtol=1e-4)


@pytest.mark.parametrize("repeated", [False, True])
def test_median(repeated):
    planes = np.random.default_rng(4).normal(size=(8, 2, 11)).astype(np.float32)
    if repeated:
        planes = np.round(planes)
    around = np.pad(planes, ((2, 2), (0, 0), (2, 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, (5, 5), axis=(0, 2))
    np.testing.assert_array_equal(median5(jnp.asarray(planes)), np.median(windows, axis=(-2, -1)))
