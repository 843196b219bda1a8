"""What a program returned: rows of a batch, and the detections of a window in seconds, if they are numbers at all."""

from collections.abc import Iterator, Mapping

import numpy as np

from tal_jax.deploy.model_folder import FIELDS
from tal_jax.errors import InputError
from tal_jax.windows import Window, WindowDetections, is_finite


def in_seconds(id: str, found: WindowDetections, window: Window, features: np.ndarray) -> WindowDetections:
    """The detections of a window of a recording, in its seconds and without padding.

    Args:
      id: the recording's id, for errors.
      found: what the program returned, in frame snippets.
      window: the window.
      features: [T, C] what the program saw.

    Raises:
      InputError: a time or a score is not finite: nothing can be said of such features.
    """
    if not is_finite(found):
        raise InputError(
            f"record {id}: the model's output is not finite, of features up to {np.abs(features).max():.3g} as it sees "
            "them: are they of the training's kind and units?"
        )
    return window.to_recording(found)


def rows_of(fields: Mapping[str, np.ndarray]) -> Iterator[WindowDetections]:
    """A program's results [B, ..] by name, row by row: the detections of each window."""
    return map(WindowDetections._make, zip(*(fields[name] for name in FIELDS), strict=True))
