"""Encoders of the smart-watch signal: what a snippet's features say of the samples around it."""

import numpy as np

STEP, WINDOW = 10, 20  # samples: a snippet, and what most features look at (the snippet and 0.1 s on either side)
LONG_WINDOW = 64  # samples: 1.28 s, for a spectrum of slower movements
LONG_BINS = 12  # 0.8 to 9.4 Hz


def snippet_features(samples: np.ndarray) -> np.ndarray:
    """Statistics and spectrum of overlapping windows.

    Args:
      samples: [n, 6] samples of six channels, n >= 10.

    Returns:
      [n // 10, 48]: mean, standard deviation, minimum, maximum, and the magnitudes of the first four oscillations
      (rFFT bins 1 to 4: 2.5 to 10 Hz), six signals each. The 0.4 s window is centred on the snippet; beyond the ends of
      the recording its first and last samples are repeated.
    """
    magnitudes = np.abs(np.fft.rfft(_windows(samples, WINDOW), axis=-1))[..., 1:5]
    return np.concatenate([statistics(samples), magnitudes.transpose(0, 2, 1).reshape(len(magnitudes), -1)], axis=1)


def statistics(samples: np.ndarray) -> np.ndarray:
    """Mean, standard deviation, minimum and maximum of 0.4 s: samples [n, 6] -> [n // 10, 24]."""
    windows = _windows(samples, WINDOW)
    return np.concatenate([windows.mean(-1), windows.std(-1), windows.min(-1), windows.max(-1)], axis=1)


def raw(samples: np.ndarray) -> np.ndarray:
    """The samples themselves: [n, 6] -> [n // 10, 60], one after the other."""
    count = len(samples) // STEP
    return samples[: count * STEP].reshape(count, -1)


def spectral(samples: np.ndarray) -> np.ndarray:
    """Logarithms of the magnitudes of twelve oscillations over 1.28 s (Hann window): [n, 6] -> [n // 10, 72]."""
    windows = _windows(samples, LONG_WINDOW)
    magnitudes = np.abs(np.fft.rfft(windows * np.hanning(LONG_WINDOW), axis=-1))[..., 1 : LONG_BINS + 1]
    return np.log1p(magnitudes).reshape(len(windows), -1)


def _windows(samples: np.ndarray, width: int) -> np.ndarray:
    """Windows centred on the snippets, the first and last samples repeated beyond the ends: [n // 10, 6, width]."""
    margin = (width - STEP) // 2
    padded = np.pad(samples, ((margin, width - STEP - margin), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)[::STEP]


ENCODERS = {"features": snippet_features, "raw": raw, "spectral": spectral, "statistics": statistics}
