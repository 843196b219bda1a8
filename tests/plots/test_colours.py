"""The colour of a class: which names decide it, and that colours can be told apart."""

import numpy as np
import pytest

from tal_jax.plots.colours import COLOURS, DISTINCT, NO_CLASS, label_colours, remark

NAMES = [f"class {i:03d}" for i in range(DISTINCT)]


def levels(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


@pytest.mark.parametrize("count", [1, 10, 11, 20, 200])
def test_it_is_a_function_of_the_names_alone(count):
    names = NAMES[:count]
    expected = label_colours(names)
    assert list(expected) == names
    assert label_colours(reversed(names)) == label_colours([*names, *names]) == expected
    assert list(expected.values())[:10] == list(COLOURS[:count])


def test_other_names_change_no_colour_of_the_classes():
    classes = NAMES[5:15]
    both = label_colours(classes, ["b", "a", classes[3]])
    assert {name: both[name] for name in classes} == label_colours(classes)
    assert list(both) == [*classes, "a", "b"]
    assert label_colours([], ["b", "a"]) == label_colours(["a", "b"])
    assert label_colours([]) == {}


def test_colours_are_distinct_and_seen_on_white():
    colours = list(label_colours(NAMES).values())
    assert len(set(colours)) == DISTINCT
    assert NO_CLASS not in colours
    rgb = np.array([levels(colour) for colour in colours], np.float64)

    def least(count):
        far = np.linalg.norm(rgb[:count, None] - rgb[None, :count], axis=-1)
        return far[~np.eye(count, dtype=bool)].min()

    assert least(20) > 40  # of 441 from black to white
    assert least(200) > 10
    assert (rgb @ [0.2126, 0.7152, 0.0722]).max() < 0.85 * 255
    assert (rgb.max(1) - rgb.min(1)).min() > 25  # no grey


def test_more_classes_than_colours_repeat_them():
    colours = label_colours([*NAMES, "one more"])
    assert colours["one more"] == COLOURS[0]
    assert remark(colours) == f"{DISTINCT + 1} classes share {DISTINCT} colours, in the order of their names."
    assert remark(NAMES) == ""
