"""Augmentation: rotations are rotations, act on sensors' own units, and only where streams hold samples of sensors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tal_jax.data.augmentation import HALF_TURNS, Augmentation, Turning, random_rotation
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
    device = (tuple(range(1, 7)), tuple(range(8, 14)))
    chosen = Augmentation(rotation=0.5, half_turns=True, triaxial=Turning((device,)))
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


def test_devices_turn_each_on_its_own_and_nothing_else_changes():
    raw = rng(1).normal(1013, 0.05, (9, 10)).astype(np.float32)
    normalization = Normalization(raw.mean(0), raw.std(0))
    # vectors (0, 2, 4) and (1, 3, 5) are of one device, (9, 7, 8) of another; channel 6 is no sensor's
    chosen = Augmentation(rotation=0.5, triaxial=Turning((((0, 2, 4, 1, 3, 5),), ((9, 7, 8),))))
    draws = rng(4)
    one, other = random_rotation(0.5, False, draws), random_rotation(0.5, False, draws)
    expected = raw.copy()
    for i in range(9):
        expected[i, [0, 2, 4]] = one @ raw[i, [0, 2, 4]]
        expected[i, [1, 3, 5]] = one @ raw[i, [1, 3, 5]]
        expected[i, [9, 7, 8]] = other @ raw[i, [9, 7, 8]]
    got = chosen(raw, rng(4))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    x = normalization(raw)
    np.testing.assert_array_equal(chosen(x, rng(4), normalization)[:, 6], x[:, 6])


def test_lengths_and_the_angles_between_sensors_are_kept():
    raw = rng(2).normal(0, 5, (50, 12)).astype(np.float32)
    chosen = Augmentation(rotation=1.0, half_turns=True, triaxial=Turning(((tuple(range(6)), tuple(range(6, 12))),)))
    got = chosen(raw, rng(3))
    before, after = (x.reshape(50, 4, 3).astype(np.float64) for x in (raw, got))
    assert np.abs(after - before).max() > 1
    np.testing.assert_allclose(after @ after.swapaxes(1, 2), before @ before.swapaxes(1, 2), rtol=1e-4, atol=1e-3)


def test_a_stream_of_samples_turns_as_it_always_has():
    """The same numbers, to the last bit, as of ranges of channels: trainings go on as they were."""
    raw = rng(5).normal(0, 3, (40, 64)).astype(np.float32)
    normalization = Normalization(raw.mean(0), raw.std(0))
    x = normalization(raw)
    matrix = random_rotation(0.4, True, rng(6))
    expected = normalization.undone(x)
    for first, last in ((0, 24), (30, 60)):
        turned = expected[:, first:last].reshape(len(x), -1, 3) @ matrix.T
        expected[:, first:last] = turned.reshape(len(x), -1)
    expected = normalization(expected)
    device = (tuple(range(24)), tuple(range(30, 60)))
    got = Augmentation(rotation=0.4, half_turns=True, triaxial=Turning((device,)))(x, rng(6), normalization)
    np.testing.assert_array_equal(got[:, :24], expected[:, :24])
    np.testing.assert_array_equal(got[:, 30:60], expected[:, 30:60])
    np.testing.assert_array_equal(got[:, 24:30], x[:, 24:30])
