"""Rotation in training: which streams turn comes from the data or the config, and the run says so."""

import pytest
from sensor_set import prepare_set, tiny_config

from tal_jax.errors import InputError
from tal_jax.train.build import build_stage
from tal_jax.train.reports import turning


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turning")
    prepare_set(folder)
    return folder / "data"


def config_of(data, triaxial, rotation=0.4):
    config = tiny_config(data)
    config.data.triaxial = triaxial
    config.stages.bmn.data.update(rotation=rotation, half_turns=False)
    return config.to_dict()


@pytest.mark.parametrize(
    ("triaxial", "channels", "told"),
    [
        (("auto",), (), "nothing, no samples of three-axis sensors"),  # signals of a synthetic set, no accelerometer
        (("imu",), ((0, 3),), "3 channels, samples of three-axis sensors"),
    ],
)
def test_a_stream_turns_if_it_is_named_or_looks_like_it(data, tmp_path, triaxial, channels, told):
    stage = build_stage(config_of(data, triaxial), "bmn", tmp_path)
    assert stage.assembler.augmentation.triaxial == channels
    assert turning(stage.assembler.augmentation) == [f"  rotated in training: {told} (data.triaxial)"]


def test_without_rotation_nothing_is_looked_at_or_told(data, tmp_path):
    stage = build_stage(config_of(data, ("none_of_them",), rotation=0.0), "bmn", tmp_path)
    assert turning(stage.assembler.augmentation) == []


def test_a_stream_that_is_not_there_is_refused(data, tmp_path):
    with pytest.raises(InputError, match=r"data\.triaxial: no stream 'flow'"):
        build_stage(config_of(data, ("flow",)), "bmn", tmp_path)
