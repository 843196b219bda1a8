"""Layouts of three-axis sensors: told from samples in any order and unit, and never seen in other features."""

import itertools

import numpy as np
import pytest

from tal_jax.data.augmentation import random_rotation
from tal_jax.demo.encoders import ENCODERS
from tal_jax.demo.sessions import load
from tal_jax.sensors.layouts import ORDERS, Layout, Unclear, tell, tell_companion


def rng(seed=0):
    return np.random.default_rng(seed)


def samples(snippets=200, per_snippet=4, sensors=2, gravity=9.81, seed=0):
    """Raw samples [T, S, N, 3] of a device that is turned now and then: an accelerometer first."""
    random = rng(seed)
    out = random.normal(0, 0.7, (snippets, per_snippet, sensors, 3))
    for i in range(snippets):
        out[i, :, 0] += random_rotation(3.0, False, rng(i // 20)) @ [0, 0, 9.81]
    out[:, :, 0] *= gravity / 9.81
    return out.astype(np.float32)


def rows(v, order="SNA"):
    """Samples [T, S, N, 3] as snippets [T, C], written out one by one: the last letter of the order varies fastest."""
    sizes = dict(zip("SNA", v.shape[1:], strict=True))
    columns = []
    for place in itertools.product(*(range(sizes[axis]) for axis in order)):
        at = dict(zip(order, place, strict=True))
        columns.append(v[:, at["S"], at["N"], at["A"]])
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("per_snippet", "sensors"), [(2, 1), (5, 1), (2, 2), (10, 2), (2, 3), (4, 3), (1, 1), (1, 2)])
def test_raw_samples_are_told_by_gravity(per_snippet, sensors):
    layout = tell(rows(samples(per_snippet=per_snippet, sensors=sensors)))
    assert (layout.unit, layout.channels) == ("m/s2", tuple(range(3 * per_snippet * sensors)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("unit", ["m/s2", "g", "another unit"])
@pytest.mark.parametrize(("per_snippet", "sensors"), [(1, 2), (1, 3), (4, 1), (4, 2), (3, 3)])
def test_any_order_in_any_unit(order, unit, per_snippet, sensors):
    v = samples(
        per_snippet=per_snippet, sensors=sensors, gravity={"m/s2": 9.81, "g": 1.0, "another unit": 16384.0}[unit]
    )
    x = rows(v, order)
    layout = tell(x)
    assert layout.unit == unit
    # Each vector, wherever it lies, is one of the samples; which one comes first does not matter.
    vectors = x[0][list(layout.channels)].reshape(-1, 3)
    assert {tuple(p) for p in vectors.tolist()} == {tuple(p) for p in v[0].reshape(-1, 3).tolist()}


def test_channels_by_hand():
    assert Layout(1, 2, "SAN").channels == (0, 2, 4, 1, 3, 5)  # ax gx ay gy az gz
    assert Layout(2, 2, "ANS").channels == (0, 4, 8, 2, 6, 10, 1, 5, 9, 3, 7, 11)  # ax ax gx gx ay ay gy gy ..
    assert Layout(2, 1, "NAS").channels == (0, 2, 4, 1, 3, 5)  # x x y y z z
    assert Layout(2, 2, "NSA").channels == (0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11)  # a a g g
    assert str(Layout(4, 2, "ANS", "g")) == (
        "4 samples of 2 sensors in g, x of all sensors, then y, then z, samples side by side"
    )


def test_real_recordings_of_a_watch():
    """Acceleration in g, with a median length of 1.07."""
    signals = load().signals[::7]
    raw = np.concatenate([ENCODERS["raw"](x) for x in signals])
    v = raw.reshape(len(raw), 10, 2, 3)
    for order in ORDERS:
        layout = tell(rows(v, order))
        assert (layout.unit, layout.order, layout.unsure) == ("g", order, False)
        assert tell(rows(v[:, ::10], order)).triples == Layout(1, 2, order).triples
    companion = tell_companion(rows(v[:, :, 1:], "NAS"), "b", tell(rows(v[:, :, :1])))
    assert companion.triples == Layout(10, 1, "NAS").triples
    for name in ("features", "spectral", "statistics"):
        assert isinstance(tell(np.concatenate([ENCODERS[name](x) for x in signals])), str)


def test_other_features_are_not():
    raw = samples(per_snippet=10, sensors=2)
    statistics = np.concatenate([f(1).reshape(200, -1) for f in (raw.mean, raw.std, raw.min, raw.max)], axis=1)
    acceleration, rate = raw[:, :, 0], raw[:, :, 1]
    x, unit = rows(samples()), rng(1).normal(size=(200, 3))
    walks = np.cumsum(rng(2).normal(size=(200, 3)), 0)
    shares = np.exp(walks) / np.exp(walks).sum(1, keepdims=True)
    cases = {
        "means, deviations, extremes": statistics,
        "means and deviations": np.concatenate([acceleration.mean(1), acceleration.std(1)], axis=1),
        "means and least": np.concatenate([acceleration.mean(1), acceleration.min(1)], axis=1),
        "means and extremes": np.concatenate([acceleration.mean(1), acceleration.min(1), acceleration.max(1)], axis=1),
        "of two sensors": np.concatenate([acceleration.mean(1), rate.std(1), acceleration.std(1)], axis=1),
        "normalised": (x - x.mean(0)) / x.std(0),
        "noise": rng().normal(size=(200, 60)),
        "noise as long as gravity": 0.65 * rng().normal(size=(200, 60)),
        "wide": rng().normal(size=(200, 2304)),
        "an encoder's": np.maximum(rng().normal(size=(200, 96)), 0),
        "directions without order": unit / np.linalg.norm(unit, axis=1, keepdims=True),
        "probabilities": shares,
        "weather": np.array([20.0, 50.0, 1013.0]) + 0.1 * walks,
        "not triples": x[:, :-1],
        "four channels": np.pad(rows(samples(per_snippet=1, sensors=1)), ((0, 0), (0, 1))),
        "empty": np.zeros((0, 6)),
        "constant": np.zeros((5, 6)),
        "not finite": np.full((5, 6), np.nan),
    }
    for name, features in cases.items():
        assert isinstance(tell(features.astype(np.float32)), str), name


def test_reasons():
    assert "7 channels are no triples" in tell(np.zeros((5, 7)))
    x = rows(samples())
    assert "standardised" in tell((x - x.mean(0)) / x.std(0))
    assert "no three channels of a steady length" in tell(0.65 * rng().normal(size=(200, 60)))


def smooth(per_snippet, seed=0):
    """A gyroscope's samples [T, S, 1, 3]: neighbours differ little."""
    walk = np.cumsum(rng(seed).normal(size=(200 * per_snippet, 3)), 0)
    walk -= 0.98 * np.stack([np.convolve(w, np.ones(50) / 50, "same") for w in walk.T], 1)
    return walk.reshape(200, per_snippet, 1, 3).astype(np.float32)


def test_a_gyroscope_beside_an_accelerometer():
    beside = tell(rows(samples(per_snippet=8, sensors=1)))
    for order in ("SNA", "NAS"):
        assert tell_companion(rows(smooth(8), order), "b", beside).triples == Layout(8, 1, order).triples
    noise = rng(3).normal(size=(200, 24)).astype(np.float32)
    assert tell_companion(noise, "gyro", beside).channels == tuple(range(24))
    assert isinstance(tell_companion(noise, "b", beside), Unclear)
    assert tell_companion(rows(smooth(4)), "Gyroscope", beside).triples == Layout(4, 1).triples  # at half the rate
    assert isinstance(tell_companion(noise[:, :10], "gyr", beside), Unclear)
    for name, x in (("b", noise[:, :12]), ("b", np.abs(noise) * np.arange(24)), ("orientation", rows(smooth(8)))):
        companion = tell_companion(x, name, beside)
        assert isinstance(companion, str)
        assert not isinstance(companion, Unclear)
