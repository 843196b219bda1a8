"""How far the encoding of videos is: hours of video, images a second, time left, and how long devices had no images."""

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from tal_jax.devices import processes
from tal_jax.video.decode import Video

LOG_SECONDS = 30.0  # between lines, where there is no terminal


class Progress:
    """A bar on a terminal, a line now and then otherwise; lengths are those of the files' headers, as an estimate."""

    def __init__(self, videos: Sequence[Video]):
        self._videos = videos
        lengths = [video.header_seconds() for video in videos]
        known = [x for x in lengths if x]
        mean = sum(known) / len(known) if known else 60.0
        self._lengths = [x or mean for x in lengths]
        self._ended: set[int] = set()
        self._begin = self._logged = time.monotonic()
        self._idle = 0.0
        # disable=None: a bar only on a terminal.
        form = "{percentage:3.0f}% |{bar}| {elapsed}<{remaining}{postfix}"
        total = round(sum(self._lengths), 1)
        self._bar = tqdm(total=total, bar_format=form, disable=None, dynamic_ncols=True)
        self._terminal = sys.stderr.isatty()

    def idle(self, seconds: float) -> None:
        """Adds time in which the devices had nothing to do but wait for images."""
        self._idle += seconds

    def end(self, job: int) -> None:
        """Counts a video that is done, or has failed."""
        self._ended.add(job)

    def show(self) -> None:
        """Says how far it is, where it is time to."""
        done, now = self._seconds(), time.monotonic()
        self._bar.update(done - self._bar.n)
        self._bar.set_postfix_str(self._speed(now), refresh=False)
        if not self._terminal and now - self._logged >= LOG_SECONDS:
            self._logged = now
            left = (now - self._begin) * (sum(self._lengths) / done - 1) if done else 0.0
            processes.say(
                f"{len(self._ended)} of {len(self._lengths)} videos, {done / 3600:.2f} of "
                f"{sum(self._lengths) / 3600:.2f} h, {self._speed(now)}, about {left / 60:.0f} min left"
            )

    def close(self) -> None:
        """Ends the bar, and says the speed of the whole."""
        self._bar.close()
        processes.say(f"{self._seconds() / 3600:.2f} h of video, {self._speed(time.monotonic())}")

    def _seconds(self) -> float:
        """Of video that are decoded."""
        return sum(
            length if job in self._ended else min(float(video.seconds), length)
            for job, (video, length) in enumerate(zip(self._videos, self._lengths, strict=True))
        )

    def _speed(self, now: float) -> str:
        took = max(now - self._begin, 1e-9)
        images = sum(video.images for video in self._videos)
        return f"{images / took:.0f} images/s, devices without images {100 * self._idle / took:.0f} % of the time"
