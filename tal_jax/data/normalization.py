"""Mean and standard deviation of the training features, for inputs on scales of their own (raw sensors)."""

from pathlib import Path

import numpy as np

from tal_jax.data import atomic
from tal_jax.data.dataset import Split
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.windows import Normalization

TINY = 1e-37  # float32 has no digits below, and devices take it for zero


def measure(split: Split, streams: tuple[str, ...], recordings: int = 500) -> Normalization:
    """Statistics over evenly chosen recordings of a split, streams concatenated in order."""
    index = np.unique(np.linspace(0, len(split) - 1, min(recordings, len(split))).astype(int))
    width = sum(split.metadata.streams[s] for s in streams)
    count, total, square = 0, np.zeros(width), np.zeros(width)
    for record in split.records(index):
        x = np.concatenate([record.features[s] for s in streams], axis=1).astype(np.float64)
        count, total, square = count + len(x), total + x.sum(0), square + (x**2).sum(0)
    mean = total / count
    std = np.sqrt(np.maximum(square / count - mean**2, 0))
    # A channel that never moves carries nothing; dividing by its rounding error would. One that is small moves too.
    std = np.where(std > np.maximum(1e-6 * np.abs(mean), TINY), std, 1.0)
    return Normalization(mean.astype(np.float32), std.astype(np.float32))


def write(path: Path, statistics: Normalization) -> None:
    """Stores statistics (.npz)."""
    with atomic.writing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, mean=statistics.mean, std=statistics.std)


def read(path: Path, width: int) -> Normalization:
    """Reads what `write` stored.

    Args:
      path: the file.
      width: C, how many channels the features have.

    Raises:
      InputError: the file is missing or damaged, or of another width, or holds what can be no mean or deviation.
    """
    remedy = f"restore it, or remove the folder {path.parent} to train the stage anew"
    arrays = own_files.read_arrays(path, ("mean", "std"), remedy)
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.shape != (width,):
            raise InputError(
                f"{path}: damaged, {name} has the type {array.dtype} and the shape {array.shape}, expected "
                f"{width} numbers: {remedy}"
            )
    statistics = Normalization(arrays["mean"].astype(np.float32), arrays["std"].astype(np.float32))
    good = np.isfinite(statistics.mean) & np.isfinite(statistics.std) & (statistics.std > 0)
    if not good.all():
        i = int(np.argmin(good))
        raise InputError(
            f"{path}: damaged, channel {i} has the mean {statistics.mean[i]} and the deviation {statistics.std[i]}: "
            f"{remedy}"
        )
    return statistics
