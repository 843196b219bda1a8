"""Rows of packed clips: which pixels they hold, padding, classes, randomness by row; flow stacked x1 y1 x2 y2 .."""

import dataclasses

import numpy as np
import pytest
from support.small_encoder import SMALL

from tal_jax.data.images import Images, files_of
from tal_jax.data.record import Record
from tal_jax.errors import InputError
from tal_jax.recognition.rows import ClipRows
from tal_jax.recognition.sampling import Cropping, Times

pytest.importorskip("PIL")
RNG = np.random.default_rng(0)


def smooth(count, channels):
    """Images whose brightness tells their number, brighter to the right; JPEG hardly changes them."""
    across = np.linspace(0, 40, 60)[None, :, None]
    return [np.broadcast_to(20 * i + 30 + across, (48, 60, channels)).astype(np.uint8) for i in range(count)]


def record(count, channels=3, stream="rgb"):
    files = [file for image in smooth(count, channels) for file in files_of(image)]
    return Record(
        "r", {stream: Images(files, channels)}, 0.1, 0.1 * count, np.array([[0, 0.1 * count]]), np.array([1], np.int32),
        np.array([1], np.int32),
    )  # fmt: skip


def rows(**fields):
    known = {"encoder": SMALL, "stream": "rgb", "num_classes": 3, "times": Times(4), "cropping": Cropping("centre")}
    return ClipRows(**{**known, **fields})


def test_a_row_of_evaluation_is_what_encode_would_see():
    r = record(8)
    row, origin = rows(views=2).detection_row(r, 5, 0.0)
    expected = [SMALL.preprocessing.on_host(r.features["rgb"][i])[0] for i in (0, 2, 4, 6, 1, 3, 5, 7)]
    np.testing.assert_array_equal(row.features, expected)
    assert row.features.dtype == np.uint8
    assert row.mask.all()
    assert (int(origin.index), float(origin.offset)) == (5, 0.0)
    assert row.labels.tolist() == [0, 1, 0]
    assert float(row.stride * row.duration) == pytest.approx(0.8)


def test_a_row_of_training_is_a_function_of_its_generator():
    maker, r = rows(cropping=Cropping(), jitter=0.2), record(8)
    made = [maker.training_row(r, 0, np.random.default_rng(i))[0].features for i in (1, 1, 2)]
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    assert made[0].shape == (4, 32, 32, 3)


def test_half_of_the_rows_are_mirrored():
    maker, r = rows(), record(4)
    slopes = [np.diff(maker.training_row(r, 0, np.random.default_rng(i))[0].features[0, 9, :, 0].astype(int)).sum()
              for i in range(200)]  # fmt: skip
    assert 70 < sum(slope < 0 for slope in slopes) < 130
    assert all(np.diff(rows(flip=0.0).training_row(r, 0, np.random.default_rng(i))[0].features[0, 9, :, 0].astype(int)
                       ).sum() > 0 for i in range(20))  # fmt: skip


def test_fields_lie_side_by_side():
    flow = dataclasses.replace(
        SMALL, channels=4, preprocessing=dataclasses.replace(SMALL.preprocessing, mean=(0.5,) * 2, std=(0.2,) * 2)
    )
    r = record(6, 2, "flow")
    maker = rows(encoder=flow, stream="flow", times=Times(2, stack=2))
    row, _ = maker.detection_row(r, 0, 0.0)
    assert row.features.shape == (2, 32, 32, 4)
    fields = [flow.preprocessing.on_host(r.features["flow"][i])[0] for i in (1, 2, 3, 4)]
    np.testing.assert_array_equal(row.features[0], np.concatenate(fields[:2], axis=2))
    np.testing.assert_array_equal(row.features[1], np.concatenate(fields[2:], axis=2))


def test_classes_of_another_set():
    row, _ = rows(class_of=np.array([0, 2], np.int32)).detection_row(record(4), 0, 0.0)
    assert row.labels.tolist() == [0, 0, 1]
    row, _ = rows(class_of=np.array([0, -1], np.int32)).detection_row(record(4), 0, 0.0)
    assert not row.labels.any()


def test_an_empty_row_is_like_the_others():
    maker = rows(views=3)
    empty, origin = maker.empty_row()
    row, _ = maker.detection_row(record(4), 0, 0.0)
    assert int(origin.index) == -1
    for name in ("features", "mask", "labels"):
        assert getattr(empty, name).shape == getattr(row, name).shape
        assert getattr(empty, name).dtype == getattr(row, name).dtype


def test_a_damaged_image_names_its_record():
    r = record(4)
    r.features["rgb"].files[1] = b"\xff\xd8nothing"
    with pytest.raises(InputError, match=r"record r: an image that cannot be decoded .*launch\.pack again"):
        rows().detection_row(r, 0, 0.0)
