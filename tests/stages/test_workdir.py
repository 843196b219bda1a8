"""A workdir knows the config that it was begun with."""

import dataclasses

import pytest

from tal_jax.data.dataset import Metadata
from tal_jax.errors import InputError
from tal_jax.stages.workdir import claim_config, finished, mark_finished, read_config, remember_data


def config(**changes):
    base = {
        "seed": 0,
        "data": {"dir": "A", "streams": ("imu",)},
        "checkpoint": {"every_steps": 5},
        "log_every_steps": 1,
        "stages": {"bmn": {"steps": 3, "model": {"hidden": 8}}, "tcanet": {"steps": 4}},
    }
    return base | changes


def test_same_config_is_accepted_again(tmp_path):
    claim_config(config(), tmp_path, ["bmn", "tcanet"])
    claim_config(config(), tmp_path, ["bmn", "tcanet"])
    assert read_config(tmp_path)["data"] == {"dir": "A", "streams": ["imu"]}


def test_where_data_lie_and_how_often_it_is_saved_may_change(tmp_path):
    claim_config(config(), tmp_path, ["bmn"])
    claim_config(config(data={"dir": "B", "streams": ("imu",)}, checkpoint={"every_steps": 9}), tmp_path, ["bmn"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed 0 -> 1"),
        ({"data": {"dir": "A", "streams": ()}}, "data.streams"),
        ({"stages": {"bmn": {"steps": 3, "model": {"hidden": 9}}, "tcanet": {"steps": 4}}}, "stages.bmn.model.hidden"),
    ],
)
def test_another_config_is_refused_and_named(tmp_path, changes, named):
    claim_config(config(), tmp_path, ["bmn"])
    claim_config(config(**changes), tmp_path, ["bmn"])  # nothing was saved: a corrected config replaces the first
    claim_config(config(), tmp_path, ["bmn"])
    (tmp_path / "bmn" / "checkpoints" / "2").mkdir(parents=True)
    with pytest.raises(InputError, match=named):
        claim_config(config(**changes), tmp_path, ["bmn"])


def test_a_stage_does_not_depend_on_its_neighbour(tmp_path):
    claim_config(config(), tmp_path, ["bmn"])
    changed = config(stages={"bmn": {"steps": 3, "model": {"hidden": 8}}, "tcanet": {"steps": 99}})
    claim_config(changed, tmp_path, ["bmn", "tcanet"])


def test_not_a_workdir(tmp_path):
    with pytest.raises(InputError, match="not the workdir"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_config(tmp_path)


def test_finished(tmp_path):
    claim_config(config(), tmp_path, ["bmn"])
    assert not finished(tmp_path, "bmn")
    mark_finished(tmp_path, "bmn", 3)
    assert finished(tmp_path, "bmn")


def test_the_training_set_is_remembered(tmp_path):
    first = Metadata(("a",), {"imu": 3}, 0.5, {"training": 2}, (1.0, 2.0), {"training": (3.0,)}, 4, "float32", "f")
    other = dataclasses.replace(first, labels=("b",), fingerprint="g")
    assert remember_data(tmp_path, "bmn", other, 9) == (other, 9)
    assert remember_data(tmp_path, "bmn", first, 7) == (first, 7)
    (tmp_path / "bmn" / "checkpoints" / "2").mkdir(parents=True)
    assert remember_data(tmp_path, "bmn", other, 9) == (first, 7)
