"""TV-L1 of this project and of OpenCV, side by side: seconds for a pair of images, and how far they are apart.

python -m benchmarks.flow [--videos=DIR] [--pairs=50] [--rounds=5]

All run in turns on the same cores, in one process, and medians over the rounds are compared, since machines are noisy.
OpenCV may use all cores for a pair, or one for each of several pairs; so may we, by threads that call the function.
Without --videos, the images are waves that move, turn and grow.
"""

import concurrent.futures
import dataclasses
import os
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import flags

from tal_jax.commands import app
from tal_jax.errors import InputError
from tal_jax.ops.optical_flow import OPENCV, OPENCV_CUDA, TVL1, tvl1
from tal_jax.video import decode, folder
from tal_jax.video.flow import grey

_VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos to take pairs from.")
_PAIRS = flags.DEFINE_integer("pairs", 50, "Pairs whose flows are compared.")
_TIMED = flags.DEFINE_integer("timed", 4, "Pairs of them that are timed, spread evenly.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Times that each is timed, in turns.")
_ROWS = flags.DEFINE_integer("rows", 256, "Of an image.")
_COLUMNS = flags.DEFINE_integer("columns", 340, "Of an image.")
BORDER = 8  # pixels that the interior leaves out on every side
FIXED = dataclasses.replace(OPENCV, epsilon=0.0, outer=1)  # 30 iterations in each of 25 warps


def main(argv: Sequence[str]) -> None:
    """Prints two tables."""
    del argv
    try:
        import cv2
    except ImportError as e:
        raise InputError("benchmarks.flow: OpenCV is missing: pip install 'tal_jax[test]'") from e
    images0, images1 = from_videos(_VIDEOS.value) if _VIDEOS.value else waves()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    timed = np.unique(np.linspace(0, len(images0) - 1, _TIMED.value).astype(int))
    print(f"{len(images0)} pairs of {_COLUMNS.value} x {_ROWS.value}, {cores} cores, JAX on {jax.default_backend()}")

    def theirs(settings: TVL1, threads: int) -> Callable[[np.ndarray], list]:
        def run(which: np.ndarray) -> list[np.ndarray]:
            cv2.setNumThreads(threads)
            method = cv2.optflow.DualTVL1OpticalFlow_create(epsilon=settings.epsilon, outerIterations=settings.outer)
            return [method.calc(images0[k], images1[k], None) for k in which]

        return run

    def ours(settings: TVL1) -> Callable[[np.ndarray], list]:
        def run(which: np.ndarray) -> list[np.ndarray]:
            return [np.asarray(tvl1(images0[k : k + 1], images1[k : k + 1], settings=settings))[0] for k in which]

        return run

    def spread(run: Callable) -> Callable[[np.ndarray], list]:
        """In as many threads as there are cores."""

        def together(which: np.ndarray) -> list:
            with concurrent.futures.ThreadPoolExecutor(cores) as pool:
                return [flow for flows in pool.map(run, np.array_split(which, cores)) for flow in flows]

        return together

    ways = {
        "OpenCV, a pair at a time": theirs(OPENCV, cores),
        f"OpenCV, {cores} pairs at a time": spread(theirs(OPENCV, 1)),
        "ours, a pair at a time": ours(OPENCV),
        f"ours, {cores} pairs at a time": spread(ours(OPENCV)),
        "OpenCV, 30 iterations a warp": theirs(FIXED, cores),
        "ours, 30 iterations a warp": ours(FIXED),
        "ours, as OpenCV's CUDA form": ours(OPENCV_CUDA),
    }
    for run in ways.values():
        run(timed[:1])  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS.value):
        for name, run in ways.items():
            start = time.perf_counter()
            run(timed)
            seconds[name].append((time.perf_counter() - start) / len(timed))
    print(f"\n{'':32}  seconds a pair  range          OpenCV / this")
    for name, taken in seconds.items():
        base = seconds["OpenCV, 30 iterations a warp" if "30" in name else "OpenCV, a pair at a time"]
        ratio = np.median(np.array(base) / np.array(taken))
        print(f"{name:32}  {np.median(taken):14.3f}  {min(taken):.3f}-{max(taken):.3f}    {ratio:13.1f}")

    everything = np.arange(len(images0))
    print(f"\n{'difference to OpenCV, pixels':32}  mean    worst pair  99.9 %  interior maximum  mean motion")
    for name, settings in {"until nothing changes": OPENCV, "30 iterations a warp": FIXED}.items():
        a, b = spread(theirs(settings, 1))(everything), spread(ours(settings))(everything)
        apart = np.linalg.norm(np.array(a) - np.array(b), axis=-1)
        inside = apart[:, BORDER:-BORDER, BORDER:-BORDER]
        motion = np.linalg.norm(np.array(a), axis=-1).mean()
        worst = apart.mean(axis=(1, 2)).max()
        print(
            f"{name:32}  {apart.mean():.4f}  {worst:10.4f}  {np.quantile(inside, 0.999):6.3f}  {inside.max():16.3f}"
            f"  {motion:11.3f}"
        )


def waves() -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images of smooth patterns that move by a few pixels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: _ROWS.value, : _COLUMNS.value].astype(float)
    at = np.stack([x - _COLUMNS.value / 2, y - _ROWS.value / 2], axis=-1)

    def pair() -> list[np.ndarray]:
        turn, zoom, shift = rng.uniform(-0.02, 0.02), rng.uniform(0.98, 1.02), rng.uniform(-3, 3, 2)
        matrix = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        waves, phases = rng.normal(0, 0.2, (40, 2)), rng.uniform(0, 2 * np.pi, 40)
        places = at, (at - shift) @ np.linalg.inv(matrix).T
        return [np.clip(128 + 10 * np.sin(p @ waves.T + phases).sum(axis=-1), 0, 255).astype(np.uint8) for p in places]

    first, second = zip(*(pair() for _ in range(_PAIRS.value)), strict=True)
    return np.stack(first), np.stack(second)


def from_videos(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images that follow each other, spread over all videos."""
    import cv2

    videos = list(folder.find(source).videos.values())
    each = -(-_PAIRS.value // len(videos))
    first, second = [], []
    for path in videos:
        shown = [image.rgb() for image in decode.Video(str(path)).shown()]
        for k in np.linspace(0.2 * len(shown), 0.8 * len(shown), each).astype(int)[: len(shown) - 1]:
            a, b = (grey(cv2.resize(image, (_COLUMNS.value, _ROWS.value))) for image in shown[k : k + 2])
            first.append(a)
            second.append(b)
    at = np.unique(np.linspace(0, len(first) - 1, _PAIRS.value).astype(int))
    return np.stack(first)[at], np.stack(second)[at]


if __name__ == "__main__":
    app.run(main)
