"""A workdir knows the config and the set that its stages were begun with."""

import dataclasses
import json
import os

import pytest

from tal_jax.data.dataset import Metadata
from tal_jax.errors import InputError
from tal_jax.stages.config import parse
from tal_jax.stages.workdir import (
    changed_since,
    check_config,
    finished,
    finished_parameters,
    mark_finished,
    read_config,
    write_config,
)

BMN = {"task": "bmn", "steps": 3, "model": {"hidden": 8}}


def config(**changes):
    base = {
        "data": {"dir": "A", "streams": ("imu",)},
        "checkpoint": {"every_steps": 5},
        "track": ("bmn", "tcanet"),
        "stages": {"bmn": BMN, "tcanet": {"task": "tcanet", "steps": 4}},
    }
    return parse(base | changes)


def begin(workdir, stage="bmn"):
    """As if the stage had saved something."""
    write_config(config(), workdir, ["bmn", "tcanet"])
    (workdir / stage / "checkpoints" / "2").mkdir(parents=True)


def test_same_config_is_accepted_again(tmp_path):
    begin(tmp_path)
    check_config(config(), tmp_path, ["bmn", "tcanet"])
    found = read_config(tmp_path)
    assert found.data.dir == os.path.abspath("A")
    assert dataclasses.replace(found, data=dataclasses.replace(found.data, dir="A")) == config()


def test_where_data_lie_and_how_often_it_is_saved_may_change(tmp_path):
    begin(tmp_path)
    check_config(config(data={"dir": "B", "streams": ("imu",)}, checkpoint={"every_steps": 9}), tmp_path, ["bmn"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed 0 -> 1"),
        ({"data": {"dir": "A", "streams": ()}}, "data.streams"),
        ({"stages": {"bmn": {**BMN, "model": {"hidden": 9}}, "tcanet": {"task": "tcanet"}}}, "stages.bmn.model.hidden"),
    ],
)
def test_another_config_is_refused_and_named(tmp_path, changes, named):
    write_config(config(), tmp_path, ["bmn"])
    check_config(config(**changes), tmp_path, ["bmn"])  # nothing was saved: a corrected config replaces the first
    begin(tmp_path)
    with pytest.raises(InputError, match=named):
        check_config(config(**changes), tmp_path, ["bmn"])


def test_a_stage_does_not_depend_on_its_neighbour(tmp_path):
    begin(tmp_path)
    changed = config(stages={"bmn": BMN, "tcanet": {"task": "tcanet", "steps": 99}})
    check_config(changed, tmp_path, ["bmn", "tcanet"])


def test_what_a_stage_was_begun_with_stays(tmp_path):
    begin(tmp_path)
    write_config(config(seed=1), tmp_path, ["bmn", "tcanet"])
    assert json.loads((tmp_path / "bmn" / "config.json").read_text())["seed"] == 0
    assert json.loads((tmp_path / "tcanet" / "config.json").read_text())["seed"] == 1


def test_the_config_of_a_workdir_is_that_of_its_stages(tmp_path):
    """`--stage=tcanet` with another section of BMN: BMN is still what it was trained as, and detects so."""
    begin(tmp_path)
    changed = config(stages={"bmn": {**BMN, "model": {"hidden": 9}}, "tcanet": {"task": "tcanet", "steps": 99}})
    write_config(changed, tmp_path, ["tcanet"])
    found = read_config(tmp_path).stages
    assert (found["bmn"].model["hidden"], found["tcanet"].steps) == (8, 99)
    assert changed_since(read_config(tmp_path), tmp_path, "bmn") == []
    write_config(changed, tmp_path, ["bmn"])
    assert changed_since(read_config(tmp_path), tmp_path, "bmn") == ["stages.bmn.model.hidden 8 -> 9"]


def test_keys_that_an_older_workdir_lacks_have_their_defaults(tmp_path):
    begin(tmp_path)
    path = tmp_path / "bmn" / "config.json"
    stored = json.loads(path.read_text())
    del stored["data"]["triaxial"], stored["stages"]["bmn"]["data"]["rotation"], stored["mesh"]
    path.write_text(json.dumps(stored))
    check_config(config(), tmp_path, ["bmn"])


def test_not_a_workdir(tmp_path):
    with pytest.raises(InputError, match="not the workdir"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"of_another_version": 1}')
    with pytest.raises(InputError, match=r"config\.json: .*of_another_version: no such key"):
        read_config(tmp_path)


def test_finished(tmp_path):
    begin(tmp_path)
    assert not finished(tmp_path, "bmn")
    assert finished_parameters(tmp_path, "bmn") == ""
    mark_finished(tmp_path, "bmn", 3, "abc")
    assert finished(tmp_path, "bmn")
    assert finished_parameters(tmp_path, "bmn") == "abc"


@pytest.mark.parametrize("content", [b"", b"[]", b"[3]", b"null", bytes(20), b"\xff", b'{"steps": "3"}', b"{}"])
def test_a_status_file_that_is_none_is_named(tmp_path, content):
    begin(tmp_path)
    (tmp_path / "bmn" / "finished.json").write_bytes(content)
    for ask in (finished, finished_parameters):
        with pytest.raises(InputError, match=r"bmn/finished\.json: damaged, .*: remove it and start launch\.train"):
            ask(tmp_path, "bmn")


def test_sets_are_told_apart_by_their_contents_where_both_are_known():
    known = Metadata(("a",), {"imu": 3}, 0.5, {"training": 2}, (), {}, 4, {"imu": "float32"}, "f", content="c")
    assert known.is_set_of(dataclasses.replace(known, fingerprint="of another folder"))
    assert known.is_set_of(dataclasses.replace(known, content=""))
    assert not known.is_set_of(dataclasses.replace(known, content="d"))
    assert not known.is_set_of(dataclasses.replace(known, labels=("b",)))
    older = dataclasses.replace(known, content="")
    assert not older.is_set_of(dataclasses.replace(known, fingerprint="g"))
