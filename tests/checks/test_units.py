"""Times that are fractions of the recordings are not taken for seconds."""

import numpy as np
import pytest

from tal_jax.checks import units
from tal_jax.errors import InputError


@pytest.mark.parametrize(
    ("ends", "lengths", "fractions"),
    [
        ([0.3, 1.0], [120.0], True),
        ([0.3, 1.005], [10.0, 200.0, 0.0], True),  # a length that nobody knows does not count
        ([0.3, 1.2], [120.0], False),
        ([0.3, 1.0], [3.0, 4.0, 300.0], False),  # most recordings are hardly longer
        ([0.3, 1.0], [], False),
        ([0.3, 1.0], [0.0], False),
        ([], [120.0], False),
        ([0.0, 1.0], [120.0], False),  # whole seconds
    ],
)
def test_fractions_all_end_in_the_first_second_of_long_recordings(ends, lengths, fractions):
    assert units.are_fractions(np.array(ends), lengths) is fractions


def test_fractions_become_seconds():
    assert units.scaled("D", np.array([[0.25, 0.5], [0.0, 1.0]]), 40.0).tolist() == [[10, 20], [0, 40]]
    assert units.scaled("D", np.zeros((0, 2)), None).shape == (0, 2)
    with pytest.raises(InputError, match=r"^D: an end of 12 is no fraction"):
        units.scaled("D", np.array([[0.1, 12.0]]), 40.0)
    with pytest.raises(InputError, match=r"^D: its duration is unknown"):
        units.scaled("D", np.array([[0.1, 0.2]]), None)


@pytest.mark.parametrize("scale", [25, 1000])
def test_times_beyond_the_ends_are_refused(scale):
    """Five segments; the recording of a sixth ends nobody knows where."""
    segments = np.array([[0.0, 4.0], [8, 12], [10, 30], [20, 22], [39, 40], [5, 6]])
    lengths = np.array([40.0, 40, 40, 40, 40, 0])
    units.check_inside("D", segments, lengths, "Write seconds")
    said = r"^D: [45] of 5 segments lie beyond the end of their recordings, one from \d+ to \d+ in 40 s: .*\? Write sec"
    with pytest.raises(InputError, match=said):
        units.check_inside("D", segments * scale, lengths, "Write seconds")
    units.check_inside("D", segments[:4] * scale, lengths[:4], "of too few nobody can tell")
    units.check_inside("D", np.zeros((0, 2)), np.zeros(0), "")


def test_some_that_lie_beyond_are_mistakes_of_a_detector():
    segments = np.array([[0.0, 4.0], [8, 12], [10, 30], [60, 90], [50, 51], [39, 40]])
    units.check_inside("D", segments, np.full(6, 40.0), "")
