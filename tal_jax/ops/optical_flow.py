"""Dense optical flow by TV-L1 (Zach, Pock, Bischof 2007), as OpenCV computes it."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Float32, UInt8

from tal_jax.ops.image_planes import larger, median5, read_at, resized, slopes, smaller
from tal_jax.types import Array

State = tuple[jax.Array, jax.Array, jax.Array]  # the flow u, and its dual variables' x and y parts, each [Y, 2, X]
TINY = 1.1920929e-07  # squared slopes below it are none


@dataclasses.dataclass(frozen=True)
class TVL1:
    """Constants of TV-L1 and what implementations differ in; the defaults are OpenCV's CPU form.

    The flow u minimises the sum of |grad u1| + |grad u2| + lambda |I1(x + u) - I0(x)|, from coarse images to fine ones.
    """

    tau: float = 0.25  # step of the dual variables
    data_weight: float = 0.15  # lambda
    theta: float = 0.3  # how tightly the two halves of the problem are coupled
    scales: int = 5
    scale_step: float = 0.8
    smallest: int = 16  # rows or columns below which there is no further scale
    warps: int = 5  # times that the second image is read along the flow, at every scale
    outer: int = 10  # rounds of a warp; each starts with the median
    inner: int = 30  # iterations of a round
    median: bool = True  # 5 x 5
    # A warp ends once the mean squared change of a pixel's flow is no larger than the square of this; 0: never.
    epsilon: float = 0.01
    # `every` iteration's change is looked at, or only `odd` ones': after a large change not until it would have come
    # down to the limit, had every iteration made it smaller by the limit.
    change_at: str = "every"
    outside: str = "zeros"  # what the second image and its slopes are outside: `zeros`, or their `nearest` pixel
    cubic_slope: float = -0.75  # A of bicubic interpolation
    corners: bool = False  # scales lie corner on corner instead of centre on centre

    def __post_init__(self):
        if self.change_at not in ("every", "odd"):
            raise ValueError(f"change_at is 'every' or 'odd', not {self.change_at!r}")
        if self.outside not in ("zeros", "nearest"):
            raise ValueError(f"outside is 'zeros' or 'nearest', not {self.outside!r}")
        if min(self.scales, self.warps, self.outer, self.inner) < 1 or not 0 < self.scale_step < 1:
            raise ValueError(f"at least one scale, warp and iteration, and a scale_step in (0, 1), not {self}")


# cv2.optflow.DualTVL1OpticalFlow_create() with its defaults. Releases before 5 round positions to 1/32 pixel.
OPENCV = TVL1()
# cv::cuda::OpticalFlowDual_TVL1, which denseflow runs; features of public two-stream models come from it.
OPENCV_CUDA = TVL1(outer=1, inner=300, median=False, change_at="odd", outside="nearest", cubic_slope=-0.5, corners=True)


@functools.partial(jax.jit, static_argnames="settings")
def tvl1(
    images0: UInt8[Array, "B Y X"] | Float[Array, "B Y X"],
    images1: UInt8[Array, "B Y X"] | Float[Array, "B Y X"],
    *,
    settings: TVL1 = OPENCV,
) -> Float32[jax.Array, "B Y X 2"]:
    """The motion from images0 to images1 in pixels, x first: images1 at x + flow(x) looks like images0 at x.

    Every pair is computed by itself: the others of a batch change nothing. CPUs take them one after the other, since
    the planes of one pair just fit in their caches and pairs need different numbers of iterations; two threads that
    call this are faster than one by a third.

    Args:
      images0, images1: grey, 0 to 255 also as floating numbers.
      settings: constants, OPENCV or OPENCV_CUDA or others.
    """
    one = functools.partial(_pair, settings=settings)
    pairs = (images0.astype(jnp.float32), images1.astype(jnp.float32))
    return lax.platform_dependent(
        *pairs, cpu=lambda a, b: lax.map(lambda pair: one(*pair), (a, b)), default=jax.vmap(one)
    )


def sizes(rows: int, columns: int, settings: TVL1 = OPENCV) -> list[tuple[int, int]]:
    """Rows and columns of all scales, finest first."""
    found = [(rows, columns)]
    for _ in range(settings.scales - 1):
        rows, columns = (round(n * settings.scale_step) for n in found[-1])
        if min(rows, columns) < settings.smallest:
            break
        found.append((rows, columns))
    return found


def _pair(image0: Float32[Array, "Y X"], image1: Float32[Array, "Y X"], settings: TVL1) -> Float32[jax.Array, "Y X 2"]:
    images = [jnp.stack([image0, image1], axis=1)]  # of every scale, [Y, 2, X]
    rows, columns = image0.shape
    scales = sizes(rows, columns, settings)
    for size in scales[1:]:
        images.append(resized(images[-1], *size, scale=1 / settings.scale_step, corners=settings.corners))
    flow = jnp.zeros_like(images[-1])
    for size, both in zip(reversed(scales), reversed(images), strict=True):
        if size != scales[-1]:
            flow = resized(flow, *size, corners=settings.corners) * (1 / settings.scale_step)
        flow = _at_one_scale(both[:, 0], both[:, 1], flow, settings)
    return flow.transpose(0, 2, 1)


def _at_one_scale(
    image0: Float32[Array, "Y X"], image1: Float32[Array, "Y X"], flow: Float32[Array, "Y 2 X"], settings: TVL1
) -> Float32[jax.Array, "Y 2 X"]:
    planes = jnp.concatenate([image1[None], slopes(image1).transpose(1, 0, 2)])  # [3, Y, X]

    def warp(_, state: State) -> State:
        at = state[0]
        there, x, y = read_at(planes, at, slope=settings.cubic_slope, outside=settings.outside)
        gradient = jnp.stack([x, y], axis=1)
        constant = there - x * at[:, 0] - y * at[:, 1] - image0
        inverse = -1 / jnp.maximum(x * x + y * y, TINY)
        return _iterated(state, functools.partial(_step, gradient, constant, inverse, settings), settings)

    state = (flow, jnp.zeros_like(flow), jnp.zeros_like(flow))
    return lax.fori_loop(0, settings.warps, warp, state)[0]


def _step(gradient: Array, constant: Array, inverse: Array, settings: TVL1, state: State) -> tuple[State, jax.Array]:
    """One iteration, and the sum of the squared changes of the flow.

    The threshold: v = u + gradient * clip(-rho / |gradient|^2) within +-lambda theta, rho = constant + gradient . u.
    Then u = v + theta div p and p = (p + tau / theta grad u) / (1 + tau / theta |grad u|); q is theta p. Forward
    differences are 0 at the last row and column, so q stays 0 there, and div is simply its difference to the previous
    one.

    On CPUs this is five passes over memory: u; the divisors; qx; qy; the changes. Differences are taken twice, with
    other signs for the divisors where they are squared: the compiler would keep what two passes share as planes.
    """
    u, qx, qy = state
    rho = constant + gradient[:, 0] * u[:, 0] + gradient[:, 1] * u[:, 1]
    v = u + gradient * _within(rho * inverse, settings.data_weight * settings.theta)[:, None]
    before_x = jnp.pad(qx[:, :, :-1], ((0, 0), (0, 0), (1, 0)))
    before_y = jnp.pad(qy[:-1], ((1, 0), (0, 0), (0, 0)))
    new = v + (qx - before_x + qy - before_y)
    to_next_x = jnp.pad(new[:, :, 1:] - new[:, :, :-1], ((0, 0), (0, 0), (0, 1)))
    to_next_y = jnp.pad(new[1:] - new[:-1], ((0, 1), (0, 0), (0, 0)))
    from_next_x = jnp.pad(new[:, :, :-1] - new[:, :, 1:], ((0, 0), (0, 0), (0, 1)))
    from_next_y = jnp.pad(new[:-1] - new[1:], ((0, 1), (0, 0), (0, 0)))
    steepness = jnp.sqrt(from_next_x * from_next_x + from_next_y * from_next_y)
    shrink = 1 / (1 + settings.tau / settings.theta * steepness)
    state = (new, (qx + settings.tau * to_next_x) * shrink, (qy + settings.tau * to_next_y) * shrink)
    return state, jnp.sum(jnp.square(new - u))


def _within(x: Array, limit: float) -> jax.Array:
    return larger(smaller(x, jnp.full_like(x, limit)), jnp.full_like(x, -limit))


def _iterated(state: State, step: Callable[..., tuple[State, jax.Array]], settings: TVL1) -> State:
    """All iterations of a warp."""
    limit = settings.epsilon**2 * state[0].shape[0] * state[0].shape[2]

    def smoothed(state: State) -> State:
        return (median5(state[0]), *state[1:]) if settings.median else state

    if not settings.epsilon:

        def fixed(_, state: State) -> State:
            return lax.fori_loop(0, settings.inner, lambda _, state: step(state)[0], smoothed(state))

        return lax.fori_loop(0, settings.outer, fixed, state)

    # `change` is the last one that was looked at, infinite where it was not; `due` says when to look again.
    def inner(carry):
        n, _, due, state = carry
        state, found = step(state)
        looked = (due < limit) & (n % 2 == 1) if settings.change_at == "odd" else True
        change = jnp.where(looked, found, jnp.inf)
        return n + 1, change, jnp.where(looked, found, due - limit), state

    def outer(carry):
        n, change, due, state = carry
        _, change, due, state = lax.while_loop(unfinished(settings.inner), inner, (0, change, due, smoothed(state)))
        return n + 1, change, due, state

    def unfinished(most: int):
        return lambda carry: (carry[1] > limit) & (carry[0] < most)

    first = (0, jnp.float32(jnp.inf), jnp.float32(0), state)
    return lax.while_loop(unfinished(settings.outer), outer, first)[3]
