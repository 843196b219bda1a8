"""Which images are seen, against loops written from the papers; crops, mirrors and colours."""

import numpy as np
import pytest

from tal_jax.recognition.sampling import PLACES, Crop, Cropping, Times, centre, jittered


@pytest.mark.parametrize("total", [1, 2, 3, 7, 8, 9, 30, 101])
@pytest.mark.parametrize("stack", [1, 5])
def test_segments_draw_one_of_each_part(total, stack):
    times, room = Times(8, stack=stack), max(total - stack + 1, 1)
    drawn = np.stack([times.drawn(total, np.random.default_rng(i)) for i in range(300)])
    assert drawn.min() >= 0
    assert drawn.max() < room
    for i in range(8):
        low, high = i * room / 8, (i + 1) * room / 8
        assert drawn[:, i].min() >= np.floor(low)
        assert drawn[:, i].max() <= max(np.ceil(high) - 1, np.floor(low))
        if room >= 16:  # every image of the part is seen
            assert set(range(int(np.ceil(low)), int(np.floor(high)))) <= set(drawn[:, i].tolist())


@pytest.mark.parametrize("total", [8, 11, 64, 100])
def test_evaluation_looks_at_the_middle_of_each_part(total):
    tick = total / 8
    expected = [int(tick / 2 + tick * i) for i in range(8)]  # TSN's own rule
    assert Times(8).views(total, 1).tolist() == [expected]


def test_views_of_parts_are_spread_within_them():
    views = Times(4).views(40, 2)
    assert views.tolist() == [[2, 12, 22, 32], [7, 17, 27, 37]]


def test_dense_clips_have_their_interval():
    times = Times(4, interval=3, dense=True)
    drawn = np.stack([times.drawn(30, np.random.default_rng(i)) for i in range(500)])
    assert (np.diff(drawn, axis=1) == 3).all()
    assert set(drawn[:, 0].tolist()) == set(range(30 - 9))
    assert times.drawn(5, np.random.default_rng(0)).tolist() == [0, 3, 4, 4]  # the last image repeats
    assert times.views(30, 3)[:, 0].tolist() == [0, 10, 20]
    assert times.views(30, 1).tolist() == [[10, 13, 16, 19]]
    assert times.views(2, 3).tolist() == [[0, 1, 1, 1]] * 3


def test_stacks_end_with_the_clip():
    assert Times(2, stack=3).stacked(np.array([0, 5]), 7).tolist() == [[0, 1, 2], [5, 6, 6]]


def test_corners_are_those_of_the_paper():
    """Sizes of the short side's multiples, at most one apart, at corners, centre, edges and quarters."""
    shape, cropping = (256, 340), Cropping()
    found = {cropping.drawn(shape, np.random.default_rng(i)) for i in range(4000)}
    sizes = [256, 224, 192, 168]
    pairs = {(a, b) for i, a in enumerate(sizes) for j, b in enumerate(sizes) if abs(i - j) <= 1}
    assert {(c.rows, c.columns) for c in found} == pairs
    for crop in found:
        assert 0 <= crop.row <= shape[0] - crop.rows
        assert 0 <= crop.column <= shape[1] - crop.columns
    square = {(c.row, c.column) for c in found if (c.rows, c.columns) == (224, 224)}
    assert square == {(8 * down, 29 * across) for down, across in PLACES}
    assert len(set(PLACES)) == 13


def test_random_crops_keep_area_and_ratio():
    found = [Cropping("random").drawn((240, 320), np.random.default_rng(i)) for i in range(500)]
    areas = np.array([c.rows * c.columns / (240 * 320) for c in found])
    ratios = np.array([c.columns / c.rows for c in found])
    assert 0.07 < areas.min() < 0.2
    assert areas.max() > 0.7
    assert (ratios > 0.73).all()
    assert (ratios < 1.36).all()
    assert all(c.row + c.rows <= 240 and c.column + c.columns <= 320 for c in found)
    assert centre((240, 320)) == Crop(0, 40, 240, 240)


def test_a_mirror_turns_flow_around():
    field = np.zeros((8, 8, 2), np.uint8)
    field[..., 0], field[..., 1], field[0, 0] = 100, 30, (200, 60)
    crop = Crop(0, 0, 8, 8)
    seen = crop.of(field, 8, True, flow=True)
    assert seen[0, 7].tolist() == [55, 60]
    assert seen[3, 3].tolist() == [155, 30]
    assert crop.of(field, 8, True, flow=False)[0, 7].tolist() == [200, 60]
    assert crop.of(field, 8, False, flow=True)[0, 0].tolist() == [200, 60]
    assert field[0, 0].tolist() == [200, 60]


def test_colours_change_alike_in_all_images():
    images = np.random.default_rng(0).integers(60, 190, (3, 4, 5, 3), np.uint8)
    images[1] = images[0]
    changed = jittered(images, 0.4, np.random.default_rng(1))
    np.testing.assert_array_equal(changed[0], changed[1])
    assert np.abs(changed.astype(int) - images).max() > 10
    np.testing.assert_allclose(jittered(images, 0.0, np.random.default_rng(1)), images, atol=1)
