"""Rotation in training: which streams turn comes from the data or the config, and the run says so."""

import copy

import pytest
from support.sensor_set import prepare_set, tiny_config
from support.unsealed import unseal_stage

from tal_jax.errors import InputError
from tal_jax.stages.config import parse
from tal_jax.stages.stage import build_stage, remember
from tal_jax.stages.workdir import check_config, read_config, write_config
from tal_jax.train.messages import turning


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
        # signals of a synthetic set, no accelerometer
        (
            (),
            (),
            ": nothing; imu: no three channels of a steady length, as gravity has (data.triaxial names what turns)",
        ),
        (
            ("imu",),
            (((0, 1, 2),),),
            ", as one device: imu (x y z in turn, assumed): 3 channels (named in data.triaxial)",
        ),
        (
            (("imu[2,1,0]",),),
            (((2, 1, 0),),),
            ", as one device: imu[2,1,0]: 3 channels (named in data.triaxial)",
        ),
    ],
)
def test_a_stream_turns_if_it_is_named_or_looks_like_it(data, tmp_path, triaxial, channels, told):
    stage = build_stage(config_of(data, triaxial), "bmn", tmp_path)
    assert stage.assembler.augmentation.triaxial.devices == channels
    assert turning(stage.assembler.augmentation) == [f"  rotated in training{told}"]


def test_without_rotation_nothing_is_looked_at_or_told(data, tmp_path):
    stage = build_stage(config_of(data, ("none_of_them",), rotation=0.0), "bmn", tmp_path)
    assert turning(stage.assembler.augmentation) == []


def test_a_stream_that_is_not_there_is_refused(data, tmp_path):
    with pytest.raises(InputError, match=r"data\.triaxial: no stream 'flow'"):
        build_stage(config_of(data, ("flow",)), "bmn", tmp_path)


def test_what_was_told_at_the_beginning_stays(data, tmp_path):
    """Other recordings, to detect in or to go on with, decide nothing about what the training turned."""
    remember(build_stage(config_of(data, ()), "bmn", tmp_path))
    (unseal_stage(tmp_path / "bmn") / "checkpoints" / "2").mkdir(parents=True)
    (tmp_path / "bmn" / "triaxial.json").write_text("[[0, 3]]")
    stage = build_stage(config_of(data, ()), "bmn", tmp_path)
    assert stage.assembler.augmentation.triaxial.devices == (((0, 1, 2),),)
    (tmp_path / "bmn" / "triaxial.json").write_text("[[0, 3")
    with pytest.raises(InputError, match=r"triaxial\.json: damaged, .*: restore it, or remove it"):
        build_stage(config_of(data, ()), "bmn", tmp_path)


def test_an_attempt_that_saved_nothing_decides_nothing(data, tmp_path):
    (tmp_path / "bmn").mkdir()
    (tmp_path / "bmn" / "triaxial.json").write_text("[[0, 3]]")
    assert build_stage(config_of(data, ()), "bmn", tmp_path).assembler.augmentation.triaxial.devices == ()


def test_an_amount_below_nothing_is_refused(data, tmp_path):
    with pytest.raises(InputError, match=r"stages\.bmn\.data\.rotation is -0.1: expected 0 or more"):
        build_stage(config_of(data, (), rotation=-0.1), "bmn", tmp_path)


def test_a_workdir_from_before_these_keys_goes_on(data, tmp_path):
    config = config_of(data, (), rotation=0.0)
    older = copy.deepcopy(config)
    del older["data"]["triaxial"]
    for stage in older["stages"].values():
        del stage["data"]["rotation"], stage["data"]["half_turns"]
    write_config(parse(older), tmp_path, ["bmn"])
    (tmp_path / "bmn" / "checkpoints" / "2").mkdir(parents=True)
    check_config(parse(config), tmp_path, ["bmn"])


@pytest.mark.parametrize("named", [("imu",), (("imu",),), (("imu[0:3]",),)])
def test_devices_are_read_back_from_a_workdir(data, tmp_path, named):
    config = parse(config_of(data, named))
    write_config(config, tmp_path, ["bmn"])
    (tmp_path / "bmn" / "checkpoints" / "2").mkdir(parents=True)
    check_config(config, tmp_path, ["bmn"])
    assert read_config(tmp_path).data.triaxial == named
    with pytest.raises(InputError, match=r"data\.triaxial"):
        check_config(parse(config_of(data, ())), tmp_path, ["bmn"])
