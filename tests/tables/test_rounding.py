"""What 16 bits do to a channel: measured against what the channel itself does."""

import re

import numpy as np
import pytest

from tal_jax.tables.rounding import Channels, harm, measure, worst

BOTH = ("float16", "float32")
rng = np.random.default_rng(0)
noise = rng.standard_normal


def of(*recordings, dtypes=BOTH):
    whole = None
    for i, x in enumerate(recordings):
        one = measure(np.asarray(x), dtypes, f"r{i}")
        whole = one if whole is None else whole.merged(one)
    return Channels.from_json(whole.to_json())


def test_moments_are_those_of_all_recordings_together(monkeypatch):
    parts = [noise((n, 3)) * (1, 100, 1e-6) + (5, -300, 1e-3) for n in (7, 1, 40)]
    monkeypatch.setattr("tal_jax.tables.rounding.BLOCK", 12)
    found, x = of(*parts), np.concatenate(parts)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.spread, x.std(axis=0), rtol=1e-9)
    np.testing.assert_array_equal([found.low, found.high], [x.min(axis=0), x.max(axis=0)])
    # Independently: the error of a cast, over the deviation.
    error = x.astype(np.float16).astype(float) - x
    expected = np.sqrt((error**2).mean(axis=0)) / x.std(axis=0)
    assert worst(found, "float16") == pytest.approx(expected.max(), rel=1e-6)


STAIRS = 1013.25 - np.linspace(0, 0.46, 461)[:, None]  # hPa; float16 has steps of 0.5 there


@pytest.mark.parametrize(
    ("recordings", "said"),
    [
        ([STAIRS], r"float16 rounds channel 0 by \d+% of its spread \(record r0\)"),
        ([20 * noise((400, 1)) + 980, STAIRS], r"channel 0 .*record r1"),  # the weather changes more than the stairs do
        ([np.hstack([noise((9, 2)), np.full((9, 1), 1e-13)])], r"zeros of channel 2, which reaches 1e-13"),
        ([1e-13 * noise((50, 1))], "zeros of channel 0"),
        ([np.full((3, 1), 7e4)], r"does not hold 7e\+04 of channel 0 \(record r0\)"),
        ([np.full((5, 1), 2000 + x / 4) for x in range(4)], "channel 0 by"),  # a constant of every recording
        ([2**15 + rng.integers(0, 8, (90, 1))], "channel 0 by"),
    ],
)
def test_what_float16_spoils(recordings, said):
    assert re.search(said, harm(of(*recordings), "float16"))
    assert harm(of(*recordings), "float32") == ""


@pytest.mark.parametrize(
    "recordings",
    [
        [noise((400, 8)).astype(np.float32)],
        [np.maximum(noise((300, 8)), 0) * 3],  # a ReLU's
        [np.maximum(noise((300, 8)), 0), np.full((300, 8), 0.7) + 1e-4 * noise((300, 8))],  # and a video of one image
        [np.full((9, 2), 0.1)],  # constant throughout: nothing to lose
        [(0.1 + 1e-8 * noise((90, 2))).astype(np.float32)],  # constant, as a network computes it
        [rng.integers(0, 2048, (50, 3))],
        [noise((9, 2)).astype(np.float16) * 1000],
        [np.zeros((4, 2))],
    ],
)
def test_what_float16_keeps(recordings):
    assert harm(of(*recordings), "float16") == ""


def test_bfloat16_is_coarser():
    x = 9.81 + 0.1 * noise((300, 1))
    found = of(x, dtypes=("bfloat16", "float16"))
    assert harm(found, "float16") == ""
    assert "bfloat16 rounds channel 0" in harm(found, "bfloat16")


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (1.7e12 + 20.0 * np.arange(500), "float32 rounds channel 0"),  # milliseconds since 1970
        (1_700_000_000_000 + 20 * np.arange(500), "float32 rounds channel 0"),  # as whole numbers
        (np.full(5, 1e-50), "float32 makes zeros of channel 0"),
    ],
)
def test_what_float32_spoils(x, said):
    assert said in harm(of(np.asarray(x)[:, None]), "float32")
