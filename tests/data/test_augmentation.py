"""Augmentation: rotations are rotations, act on sensors' own units, and only where streams hold samples of sensors."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tal_jax.data.augmentation import HALF_TURNS, Augmentation, random_rotation
from tal_jax.data.dataset import open_split
from tal_jax.data.sensor_axes import looks_triaxial, triaxial_channels
from tal_jax.errors import InputError
from tal_jax.prepare import prepare
from tal_jax.windows import Normalization


def rng(seed=0):
    return np.random.default_rng(seed)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5, 3.0]), st.booleans())
def test_a_rotation_keeps_lengths_angles_and_handedness(seed, deviation, half_turns):
    matrix = random_rotation(deviation, half_turns, rng(seed)).astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-6)
    if not deviation:
        assert min(abs(matrix - turn).max() for turn in HALF_TURNS) < 1e-6


def test_the_angle_is_the_length_of_three_normals():
    # trace = 1 + 2 cos(angle); the vector's own axis stays where it is
    angles = []
    for seed in range(500):
        matrix = random_rotation(0.3, False, rng(seed))
        vector = rng(seed).normal(0, 0.3, 3)
        angles.append(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1)))
        assert angles[-1] == pytest.approx(np.linalg.norm(vector), abs=2e-3)
        np.testing.assert_allclose(matrix @ vector, vector, atol=1e-6)
        # by the right hand: what is turned by a small part of the vector moves along vector x p
        p = np.cross(vector, [1.0, 2.0, 3.0])
        assert np.dot(matrix @ p - p, np.cross(vector, p)) > 0
    assert np.sqrt(np.mean(np.square(angles)) / 3) == pytest.approx(0.3, rel=0.05)


def test_half_turns_are_all_drawn_alike():
    counts = np.zeros(4)
    for seed in range(400):
        matrix = random_rotation(0.0, True, rng(seed))
        counts[[np.abs(matrix - turn).max() < 1e-6 for turn in HALF_TURNS].index(True)] += 1
    assert counts.min() > 70


def test_every_sample_of_every_sensor_turns_alike_in_its_own_units():
    raw = rng(1).normal(2, 5, (7, 14)).astype(np.float32)
    normalization = Normalization(
        rng(2).normal(size=14).astype(np.float32), rng(3).uniform(1, 9, 14).astype(np.float32)
    )
    chosen = Augmentation(rotation=0.5, half_turns=True, triaxial=((1, 7), (8, 14)))
    matrix = random_rotation(0.5, True, rng(9))
    expected = raw.copy()
    for first in (1, 4, 8, 11):
        for i in range(7):
            expected[i, first : first + 3] = matrix @ raw[i, first : first + 3]
    got = chosen(normalization(raw), rng(9), normalization)
    assert got.dtype == np.float32
    np.testing.assert_allclose(normalization.undone(got), expected, rtol=1e-4, atol=1e-4)
    before = raw.copy()
    np.testing.assert_allclose(chosen(raw, rng(9)), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(raw, before)


def test_what_is_off_draws_nothing():
    x = np.ones((4, 6), np.float32)
    for off in (Augmentation(), Augmentation(rotation=1.0), Augmentation(half_turns=True)):  # no stream that turns
        generator = rng()
        np.testing.assert_array_equal(off(x, generator), x)
        assert generator.bit_generator.state == rng().bit_generator.state


def samples(snippets=200, per_snippet=4, sensors=2, gravity=9.81, seed=0):
    """Raw samples of a device that is turned now and then: an accelerometer first."""
    random = rng(seed)
    out = random.normal(0, 0.7, (snippets, per_snippet, sensors, 3))
    for i in range(snippets):
        out[i, :, 0] += random_rotation(3.0, False, rng(i // 20)) @ [0, 0, gravity]
    return out.reshape(snippets, -1).astype(np.float32)


@pytest.mark.parametrize(("per_snippet", "sensors"), [(2, 1), (5, 1), (2, 2), (10, 2), (2, 3), (4, 3)])
def test_raw_samples_are_told_by_gravity(per_snippet, sensors):
    assert looks_triaxial(samples(per_snippet=per_snippet, sensors=sensors))


def test_other_features_are_not():
    raw = samples(per_snippet=10, sensors=2).reshape(200, 10, 6)
    statistics = np.concatenate([raw.mean(1), raw.std(1), raw.min(1), raw.max(1)], axis=1)
    acceleration, rate = raw[..., :3], raw[..., 3:]
    cases = {
        "means, deviations, extremes": statistics,
        "means and deviations": np.concatenate([acceleration.mean(1), acceleration.std(1)], axis=1),
        "means and extremes": np.concatenate([acceleration.mean(1), acceleration.min(1), acceleration.max(1)], axis=1),
        "of two sensors": np.concatenate([acceleration.mean(1), rate.std(1), acceleration.std(1)], axis=1),
        "one sample, as likely a mean": samples(per_snippet=1, sensors=2),
        "normalised": (samples() - samples().mean(0)) / samples().std(0),
        "in units of g": samples(gravity=1.0),
        "noise": rng().normal(size=(200, 60)),
        "wide": rng().normal(size=(200, 2304)),
        "not triples": samples()[:, :-1],
        "four channels": np.pad(samples(per_snippet=1, sensors=1), ((0, 0), (0, 1))),
        "empty": np.zeros((0, 6)),
        "constant": np.zeros((5, 6)),
    }
    for name, x in cases.items():
        assert not looks_triaxial(x.astype(np.float32)), name


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triaxial")
    database = {}
    for i in range(3):
        for stream, x in (("rgb", rng(i).normal(size=(30, 4))), ("imu", samples(30, seed=i))):
            (folder / stream).mkdir(exist_ok=True)
            np.save(folder / stream / f"r{i}.npy", x.astype(np.float32))
        annotations = [{"segment": [1.0, 2.0], "label": "a"}]
        database[f"r{i}"] = {"subset": "training", "duration": 30.0, "annotations": annotations}
    (folder / "a.json").write_text(json.dumps({"database": database}))
    features = {"rgb": str(folder / "rgb"), "imu": str(folder / "imu")}
    prepare.prepare(
        prepare.Options(
            annotations=str(folder / "a.json"), features=features, stride="1", out=str(folder / "data"), workers=1
        )
    )
    return open_split(folder / "data", "training")


def test_streams_are_found_or_named(split):
    assert triaxial_channels((), split, ("rgb", "imu")) == ((4, 28),)
    assert triaxial_channels((), split, ("imu", "rgb")) == ((0, 24),)
    assert triaxial_channels(("imu",), split, ("rgb", "imu")) == ((4, 28),)
    assert triaxial_channels((), split, ("rgb",)) == ()


def test_a_name_that_cannot_be_is_refused(split):
    with pytest.raises(InputError, match=r"data\.triaxial: no stream 'flow' in use: expected some of \['imu'\]"):
        triaxial_channels(("flow",), split, ("imu",))
    with pytest.raises(InputError, match="'rgb' has 4 channels, no triples of x, y and z: leave it out"):
        triaxial_channels(("rgb",), split, ("rgb", "imu"))
