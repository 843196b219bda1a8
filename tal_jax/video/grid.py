"""Images at a regular rate, out of a video whose images come when they come."""

from collections.abc import Iterator
from fractions import Fraction

from tal_jax.video.decode import Shown, Video


def on_grid(
    video: Video, images: Iterator[Shown], rate: Fraction, phase: Fraction = Fraction(0)
) -> Iterator[tuple[int, Shown]]:
    """Chooses for point k, at (k + phase) / rate seconds, the image whose time is nearest.

    Of two that are equally near, the later one. There is a point for every time before the video's end, so that the
    last image serves those after its own time too; an image of a slow video can serve several points.

    Args:
      video: the video that is decoded; its length counts once its images are all taken.
      images: those of the video, in the order of their times.
      rate: points a second.
      phase: where in its interval a point lies: 0 at the beginning, 1/2 in the middle.

    Yields:
      (k, image) for k = 0, 1, ...
    """
    k = 0
    previous: Shown | None = None
    for image in images:
        while previous is not None:
            at = (k + phase) / rate
            if at - previous.time >= image.time - at:
                break
            yield k, previous
            k += 1
        previous = image
    while previous is not None and (k + phase) / rate < video.seconds:
        yield k, previous
        k += 1
