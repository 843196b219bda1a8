"""A stage takes features of the encoder that it was trained with, and says what differs about others."""

import dataclasses

import pytest

from tal_jax.data.dataset import Metadata
from tal_jax.errors import InputError
from tal_jax.stages.plan import _streams_in_use
from tal_jax.stages.sections import DataSection

I3D = {
    "encoder": "i3d_rgb", "weights": "a" * 64, "rate": 25.0, "images": 16, "interval": 1, "stride": 4, "phase": 0.0,
    "preprocessing": {"side": 224, "crop": "centre"}, "layer": "pooled", "width": 1024,
}  # fmt: skip


def metadata(**encoders):
    widths = {"rgb": 1024, "imu": 6}
    return Metadata(("x",), widths, 1.0, {}, (), {}, 1, dict.fromkeys(widths, "float32"), "", encoders=encoders)


def check(own, trained_on, **section):
    return _streams_in_use(DataSection(dir="DATA", **section), own, trained_on)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({**I3D, "weights": "b" * 64}, r"weights bbbbbbbbbbbb\.\., not aaaaaaaaaaaa\.\."),
        ({**I3D, "stride": 8}, "images from clip to clip 8, not 4"),
        ({**I3D, "rate": "of the video"}, r"images a second of the video, not 25\.0"),
        ({**I3D, "preprocessing": {"side": 224, "crop": "ten"}}, "preprocessing .*ten.*, not .*centre"),
        ({**I3D, "encoder": "i3d_flow"}, "encoder i3d_flow, not i3d_rgb"),
    ],
)
def test_features_of_another_encoder_are_refused(other, words):
    with pytest.raises(InputError, match=rf"^DATA: stream 'rgb' is not of the encoder .*: {words}.*--accept=encoder"):
        check(metadata(rgb=other), metadata(rgb=I3D))
    assert check(metadata(rgb=other), metadata(rgb=I3D), accept_encoders=True) == ("rgb", "imu")


def test_features_that_do_not_say_what_they_are_are_refused():
    with pytest.raises(InputError, match=r"no encoder\.json said what its features are"):
        check(metadata(), metadata(rgb=I3D))


def test_others_are_taken():
    assert check(metadata(rgb=I3D), metadata(rgb=dict(I3D))) == ("rgb", "imu")
    assert check(metadata(rgb=I3D), metadata()) == ("rgb", "imu")  # a training of before videos were encoded here
    other = metadata(rgb={**I3D, "stride": 8})
    assert check(other, metadata(rgb=I3D), streams=("imu",)) == ("imu",)  # it is not looked at


def test_metadata_keeps_the_encoders():
    made = metadata(rgb=I3D)
    assert Metadata.from_json(made.to_json()) == made
    old = {k: v for k, v in made.to_json().items() if k != "encoders"}
    assert Metadata.from_json(old) == dataclasses.replace(made, encoders={})
