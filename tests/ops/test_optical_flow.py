"""TV-L1 against OpenCV, against its three steps in plain NumPy, and against motions that are known."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from tal_jax.ops import optical_flow
from tal_jax.ops.optical_flow import OPENCV, OPENCV_CUDA, TVL1, sizes, tvl1

ROWS, COLUMNS = 48, 60
SHORT = TVL1(scales=2, warps=2, outer=2, inner=6)


def texture(x, y, seed=0):
    """Grey values of a smooth pattern at real positions."""
    rng = np.random.default_rng(seed)
    waves = zip(rng.uniform(0.08, 0.5, 24), rng.uniform(0, 2 * np.pi, 24), rng.uniform(0, 2 * np.pi, 24), strict=True)
    return 128 + 14 * sum(np.sin(f * (np.cos(a) * x + np.sin(a) * y) + phase) for f, a, phase in waves)


def moved(motion, rows=ROWS, columns=COLUMNS, seed=0):
    """A pair of images, and the flow from the first to the second, where positions p go to motion(p), affine."""
    matrix, shift = motion
    y, x = np.mgrid[:rows, :columns].astype(float)
    centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
    at = np.stack([x, y], axis=-1) - centre
    back = (at - shift) @ np.linalg.inv(matrix).T
    first, second = (np.clip(texture(*np.moveaxis(p + centre, -1, 0), seed), 0, 255) for p in (at, back))
    return np.round(first).astype(np.uint8), np.round(second).astype(np.uint8), at @ matrix.T + shift - at


def turned(degrees, zoom=1.0, shift=(0.0, 0.0)):
    a = np.radians(degrees)
    return zoom * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]), np.array(shift)


MOTIONS = {
    "translation": turned(0, 1.0, (1.6, -0.7)),
    "rotation": turned(3),
    "zoom": turned(0, 1.05),
    "all": turned(-2, 0.97, (-0.8, 1.1)),
}


def batch():
    pairs = [moved(motion, seed=k) for k, motion in enumerate(MOTIONS.values())]
    return np.stack([a for a, _, _ in pairs]), np.stack([b for _, b, _ in pairs])


def opencv(image0, image1, settings=OPENCV):
    cv2 = pytest.importorskip("cv2")
    names = {"lambda_": "data_weight", "nscales": "scales", "innnerIterations": "inner", "outerIterations": "outer"}
    names |= {"scaleStep": "scale_step"} | {name: name for name in ("tau", "theta", "warps", "epsilon")}
    options = {theirs: getattr(settings, ours) for theirs, ours in names.items()}
    method = cv2.optflow.DualTVL1OpticalFlow_create(medianFiltering=5 if settings.median else 1, **options)
    return method.calc(image0, image1, None)


def distance(a, b):
    return np.linalg.norm(np.asarray(a) - b, axis=-1)


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_opencv_and_the_truth(motion):
    image0, image1, truth = moved(motion)
    found, theirs = np.asarray(tvl1(image0[None], image1[None]))[0], opencv(image0, image1)
    inside = (slice(6, -6), slice(6, -6))
    # At borders where the flow points out of the image nothing holds it, and the last bits decide: OpenCV differs as
    # much from itself if 1e-4 of a grey level is added to its pixels.
    assert distance(found, theirs)[inside].mean() < 0.015
    error = distance(found, truth)[inside].mean()
    assert error < 0.15
    assert error < distance(theirs, truth)[inside].mean() + 0.005


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0.0, "outer": 2, "inner": 9},
        {"epsilon": 0.0, "outer": 1, "inner": 20, "median": False, "tau": 0.2, "data_weight": 0.1, "theta": 0.25},
        {"epsilon": 0.03, "scales": 3, "warps": 2, "scale_step": 0.7},
    ],
)
def test_opencv_with_other_settings(changes):
    settings = dataclasses.replace(OPENCV, **changes)
    image0, image1, _ = moved(MOTIONS["all"], 40, 70)
    found = tvl1(image0[None], image1[None], settings=settings)[0]
    assert distance(found, opencv(image0, image1, settings)).mean() < 0.005


def by_steps(image0, image1, settings):
    """The flow [Y, X, 2] from the three steps, in double precision, pixel by pixel where that is clearer."""
    cubic = functools.partial(read, slope=settings.cubic_slope, outside=settings.outside)
    images = [(image0.astype(float), image1.astype(float))]
    scales = sizes(*image0.shape, settings)
    for size in scales[1:]:
        factors = (1 / settings.scale_step,) * 2
        images.append(tuple(resize(image, size, factors, settings.corners) for image in images[-1]))
    u = np.zeros((2, *scales[-1]))
    for k in range(len(scales) - 1, -1, -1):
        if k < len(scales) - 1:
            factors = tuple(a / b for a, b in zip(scales[k + 1], scales[k], strict=True))
            u = np.stack([resize(x, scales[k], factors, settings.corners) for x in u]) / settings.scale_step
        u = one_scale(*images[k], u, settings, cubic)
    return np.moveaxis(u, 0, -1)


def one_scale(image0, image1, u, settings, cubic):
    around = np.pad(image1, 1, mode="edge")
    slopes = (around[1:-1, 2:] - around[1:-1, :-2]) / 2, (around[2:, 1:-1] - around[:-2, 1:-1]) / 2
    y, x = np.mgrid[: image0.shape[0], : image0.shape[1]]
    p = np.zeros((2, 2, *image0.shape))  # of u1 and u2, in x and y
    lt, step = settings.data_weight * settings.theta, settings.tau / settings.theta
    limit = settings.epsilon**2 * image0.size
    for _ in range(settings.warps):
        there, gx, gy = (cubic(plane, x + u[0], y + u[1]) for plane in (image1, *slopes))
        constant, square = there - gx * u[0] - gy * u[1] - image0, gx * gx + gy * gy
        change, due = np.inf, 0.0
        for _ in range(settings.outer):
            if change <= limit:
                break
            u = np.stack([median(x) for x in u]) if settings.median else u
            for n in range(settings.inner):
                rho = constant + gx * u[0] + gy * u[1]
                pull = -rho / np.where(square < 1.2e-7, np.inf, square)
                pull = np.where(rho < -lt * square, lt, np.where(rho > lt * square, -lt, pull))
                new = np.empty_like(u)
                for c, gradient in enumerate((gx, gy)):
                    div = p[c, 0] - np.pad(p[c, 0], ((0, 0), (1, 0)))[:, :-1]
                    div += p[c, 1] - np.pad(p[c, 1], ((1, 0), (0, 0)))[:-1]
                    new[c] = u[c] + pull * gradient + settings.theta * div
                    du = np.diff(new[c], axis=1, append=new[c][:, -1:]), np.diff(new[c], axis=0, append=new[c][-1:])
                    for d in range(2):
                        p[c, d] = (p[c, d] + step * du[d]) / (1 + step * np.hypot(*du))
                found, u = np.sum((new - u) ** 2), new
                looked = settings.change_at == "every" or (n % 2 == 1 and due < limit)
                change, due = (found, found) if looked else (np.inf, due - limit)
                if change <= limit:
                    break
    return u


def read(plane, x, y, slope, outside):
    """A plane at real positions by Keys' cubic convolution."""

    def weight(t):
        t = np.abs(t)
        near = (slope + 2) * t**3 - (slope + 3) * t**2 + 1
        return np.where(t <= 1, near, np.where(t < 2, slope * (t**3 - 5 * t**2 + 8 * t - 4), 0.0))

    total = weights = 0.0
    for i in range(-1, 3):
        for j in range(-1, 3):
            row, column = np.floor(y).astype(int) + i, np.floor(x).astype(int) + j
            nearest = plane[np.clip(row, 0, len(plane) - 1), np.clip(column, 0, plane.shape[1] - 1)]
            inside = (row >= 0) & (row < len(plane)) & (column >= 0) & (column < plane.shape[1])
            w = weight(x - column) * weight(y - row)
            total, weights = total + w * np.where(inside | (outside == "nearest"), nearest, 0.0), weights + w
    return total / weights


def resize(plane, size, factors, corners):
    for axis in (0, 1):
        at = np.arange(size[axis]) * factors[axis]
        at = np.clip(at if corners else at + factors[axis] / 2 - 0.5, 0, plane.shape[axis] - 1)
        low = np.floor(at).astype(int)
        fraction = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        high = np.minimum(low + 1, plane.shape[axis] - 1)
        plane = np.take(plane, low, axis) * (1 - fraction) + np.take(plane, high, axis) * fraction
    return plane


def median(plane):
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(plane, 2, mode="edge"), (5, 5))
    return np.median(windows, axis=(-2, -1))


@pytest.mark.parametrize(
    "settings",
    [
        dataclasses.replace(SHORT, epsilon=0.0),
        dataclasses.replace(SHORT, inner=30, epsilon=0.05),
        dataclasses.replace(OPENCV_CUDA, scales=2, warps=2, inner=7, epsilon=0.0),
        dataclasses.replace(OPENCV_CUDA, scales=2, warps=2, epsilon=0.02),
        dataclasses.replace(OPENCV_CUDA, scales=2, warps=2, epsilon=0.1),
    ],
    ids=["fixed", "stopping", "CUDA fixed", "CUDA stopping", "CUDA stopping early"],
)
def test_steps_in_numpy(settings):
    image0, image1, _ = moved(MOTIONS["all"], 24, 30)
    found = np.asarray(tvl1(image0[None], image1[None], settings=settings))[0]
    np.testing.assert_allclose(found, by_steps(image0, image1, settings), atol=2e-3)


@pytest.mark.parametrize("settings", [OPENCV, OPENCV_CUDA], ids=["CPU", "CUDA"])
def test_no_motion_is_no_flow(settings):
    image, _, _ = moved(MOTIONS["zoom"])
    np.testing.assert_array_equal(tvl1(image[None], image[None], settings=settings), 0.0)


def test_pairs_do_not_know_of_each_other():
    images0, images1 = batch()
    settings = dataclasses.replace(SHORT, inner=20, epsilon=0.03)
    together = np.asarray(tvl1(images0, images1, settings=settings))
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(tvl1(images0[order], images1[order], settings=settings), together[order])
    empty = np.zeros_like(images0[:2])
    padded = tvl1(np.concatenate([images0, empty]), np.concatenate([images1, empty]), settings=settings)
    np.testing.assert_array_equal(padded[:4], together)
    for k in range(4):
        alone = tvl1(images0[k : k + 1], images1[k : k + 1], settings=settings)
        np.testing.assert_array_equal(alone[0], together[k])


def test_all_pairs_at_once():
    """The form of other platforms: loops go on until the last pair is done, and change none that was."""
    images0, images1 = batch()
    images1[1] = images0[1]  # done after one iteration
    settings = dataclasses.replace(SHORT, inner=20, epsilon=0.03)
    floats = images0.astype(np.float32), images1.astype(np.float32)
    at_once = jax.jit(jax.vmap(functools.partial(optical_flow._pair, settings=settings)))
    found = at_once(*floats)
    np.testing.assert_allclose(found, tvl1(images0, images1, settings=settings), atol=1e-4)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(at_once(*(x[order] for x in floats)), found[order])


def test_grey_is_0_to_255_in_any_type():
    images0, images1 = batch()
    expected = tvl1(images0, images1, settings=SHORT)
    assert expected.shape == (4, ROWS, COLUMNS, 2)
    assert expected.dtype == np.float32
    floats = tvl1(images0.astype(np.float32), images1.astype(np.float32), settings=SHORT)
    np.testing.assert_array_equal(floats, expected)


def test_the_rule_of_stopping():
    images0, images1 = batch()
    fixed = dataclasses.replace(SHORT, epsilon=0.0)
    never = dataclasses.replace(SHORT, epsilon=1e-9)
    expected = tvl1(images0, images1, settings=fixed)
    np.testing.assert_allclose(tvl1(images0, images1, settings=never), expected, atol=1e-4)
    at_once = dataclasses.replace(SHORT, epsilon=1e9)
    one = dataclasses.replace(fixed, outer=1, inner=1)
    expected = tvl1(images0, images1, settings=one)
    np.testing.assert_allclose(tvl1(images0, images1, settings=at_once), expected, atol=1e-4)


def test_scales():
    assert sizes(256, 340) == [(256, 340), (205, 272), (164, 218), (131, 174), (105, 139)]
    assert sizes(24, 30) == [(24, 30), (19, 24)]  # 15 rows are too few
    assert sizes(10, 500) == [(10, 500)]


@pytest.mark.parametrize(
    "changes", [{"outside": "mirror"}, {"change_at": "even"}, {"scales": 0}, {"inner": 0}, {"scale_step": 1.0}]
)
def test_settings_that_make_no_sense(changes):
    with pytest.raises(ValueError, match=next(iter(changes)) if len(changes) == 1 else ""):
        TVL1(**changes)
