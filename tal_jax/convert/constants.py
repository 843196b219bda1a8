"""The constants that published checkpoints carry beside their weights; they say what the model was made for."""

import numpy as np


def hidden_from_attention(snippets: int, *, heads: int = 8, local_heads: int = 4, window: int = 9) -> np.ndarray:
    """TCANet's attention mask: True where a head does not look, [1, heads, T, T] bool."""
    at = np.arange(snippets)
    mask = np.zeros((1, heads, snippets, snippets), bool)
    mask[:, :local_heads] = np.abs(at[:, None] - at[None, :]) > window // 2
    return mask


def sample_mask(snippets: int, *, longer: bool, by_end: bool, bins: int = 32, points: int = 3) -> np.ndarray:
    """BMN's sampling matrix, with positions truncated towards zero: [T, bins T T] float32.

    Args:
      snippets: number of snippets T; the matrix has 32 T^3 numbers, 0.128 GB at T = 100.
      longer: whether cells are those of JJBOY's port, one snippet longer (see `ops.boundary_matching`).
      by_end: whether the last two axes are [start, end] instead of [duration, start].
      bins: number of samples N of a cell in the layer.
      points: number of positions whose mean a sample is.
    """
    mask = np.zeros((snippets, bins, snippets, snippets), np.float32)
    point = np.arange(bins * points)[None, :]
    for duration in range(snippets):
        start = np.arange(snippets - duration)
        end = start + duration + longer
        length = end - start + 1
        low, high = start - length * 0.5, end + length * 0.5
        at = low[:, None] + ((high - low) / (bins * points - 1))[:, None] * point  # [starts, points of all bins]
        fraction, down = np.modf(at)
        # Added up in float64, point by point, as published: the same bits.
        rows = np.stack([down, np.ceil(at)], axis=-1).astype(np.int64)
        weights = np.stack([1 - fraction, fraction], axis=-1)
        columns, owners = np.broadcast_arrays((point // points)[..., None], start[:, None, None], rows)[:2]
        inside = (rows >= 0) & (rows < snippets)
        own = np.zeros((snippets, bins, snippets - duration))
        np.add.at(own, (rows[inside], columns[inside], owners[inside]), weights[inside])
        mask[:, :, start if by_end else duration, start + duration if by_end else start] = 1.0 / points * own
    return mask.reshape(snippets, -1)


def cells(snippets: int, *, by_end: bool) -> np.ndarray:
    """BMN's bm_mask: 1 where a cell's segment lies in the sequence, [start, end] or [duration, start], float32."""
    at = np.arange(snippets)
    inside = at[:, None] <= at[None, :] if by_end else at[:, None] + at[None, :] < snippets
    return inside.astype(np.float32)
