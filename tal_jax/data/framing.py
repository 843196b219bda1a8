"""The frame that suits a training set."""

import math

from tal_jax.data.dataset import QUANTILES, Metadata
from tal_jax.errors import InputError
from tal_jax.windows import Framing


def choose_framing(
    metadata: Metadata, split_snippets: int, *, mode: str, snippets: int, scale: float, overlap: float, keep: float,
    longest_action: int, max_snippets: int,
) -> Framing:  # fmt: skip
    """Fills in what the config leaves open (0) from the training set.

    scale=0: as fine as the data, but no finer than lets the long training actions (99 % of them are shorter) span
    `longest_action` frame snippets. snippets=0: as many as the longest recording needs, at most `max_snippets`; longer
    recordings are then windowed.

    Args:
      metadata: the metadata of the prepared set.
      split_snippets: number of stored snippets of the longest recording.
      mode, snippets, scale, overlap, keep: the fields of `Framing`, 0 where the config leaves them open.
      longest_action, max_snippets: the limits above, in frame snippets.

    Raises:
      InputError: a field is out of range.
    """
    if mode not in ("window", "resize"):
        raise InputError(f"config: data.mode is 'window' or 'resize', not {mode!r}")
    if not 0 <= overlap < 1:
        raise InputError(f"config: data.overlap is in [0, 1), not {overlap}")
    if mode == "resize":
        if snippets < 1:
            raise InputError("config: data.mode='resize' needs data.snippets, the length to resize to")
        return Framing(mode, snippets, overlap=overlap, keep=keep)
    if scale == 0:
        long = long_action_snippets(metadata)
        scale = max(1.0, math.ceil(4 * long / longest_action) / 4)  # quarter steps: a readable number
    if snippets == 0:
        snippets = min(max_snippets, 16 * math.ceil(split_snippets / scale / 16))
    return Framing(mode, snippets, float(scale), overlap, keep)


def long_action_snippets(metadata: Metadata) -> float:
    """Length of a long training action (the 99 % quantile) in stored snippets; 0 where unknown."""
    stride = metadata.stride or metadata.typical_stride
    if stride is None or not metadata.segment_seconds:
        return 0.0
    return metadata.segment_seconds[QUANTILES.index(0.99)] / stride
