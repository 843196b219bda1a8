"""What a stage remembers is its own: a changed file is refused, one of another training, and other checkpoints."""

import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from support.sensor_set import tiny_config, write_files
from support.unsealed import unseal_stage

from tal_jax.data.dataset import Metadata
from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.artifacts import Artifact, Origin, write_inputs
from tal_jax.stages.remembered import FILES, SEAL, read_set, seal, write_set
from tal_jax.stages.stage import build_stage, remember
from tal_jax.train.checkpoint import Checkpoints, restore_params
from tal_jax.train.step import TrainState

STATE = TrainState(step=jnp.zeros((), jnp.int32), params={"w": jnp.ones(3)}, opt_state={}, ema=None)


def begun(folder, data):
    """A stage with all that it can remember, and a checkpoint."""
    config = tiny_config(data)
    config.data.normalize, config.data.triaxial = True, ("imu",)
    config.stages.bmn.data.update(rotation=0.4, half_turns=False)
    stage = build_stage(config.to_dict(), "bmn", folder)
    remember(stage)
    origin = Origin(stage.training.metadata.fingerprint, stage.training.metadata.content, "p")
    write_inputs(folder, "bmn", {"proposals": Artifact({}, origin, folder)})  # as of a stage that takes some
    seal(folder, "bmn")
    checkpoints = Checkpoints(folder, "bmn")
    checkpoints.save(2, STATE)
    checkpoints.close()
    return config


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """Two trainings on sets of equal ids, lengths and classes, and the config of the first."""
    folder = tmp_path_factory.mktemp("two")
    write_files(folder / "other")
    for file in (folder / "other" / "features").iterdir():
        np.save(file, np.load(file)[:, [0, 1, 2]] * np.float32(9))
    annotations, features = folder / "other" / "annotations.json", folder / "other" / "features"
    out = str(folder / "data")
    prepare(Options(str(annotations), {"imu": str(features)}, "0.5", out, dtype="float32", workers=1))
    begun(folder / "other", folder / "data")
    return begun(folder / "one", data).to_dict(), folder / "one", folder / "other"


@pytest.fixture
def workdir(two, tmp_path):
    """A copy of the first, to be changed."""
    return shutil.copytree(two[1], tmp_path / "w")


def refused(config, workdir):
    with pytest.raises(InputError) as error:
        build_stage(config, "bmn", workdir)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_remembered_is_read(two, workdir):
    config, one, _ = two
    assert {path.name for path in (one / "bmn").iterdir()} == {"checkpoints", SEAL, *FILES}
    assert build_stage(config, "bmn", workdir).assembler.normalization is not None
    np.testing.assert_array_equal(restore_params(workdir, "bmn")["w"], np.ones(3))


@pytest.mark.parametrize("name", [SEAL, *(name for name in FILES if name != "triaxial.json")])
def test_a_file_of_another_training_is_refused(two, workdir, name):
    """The statistics of one went unnoticed in another's folder; so did its set, of the same classes and lengths."""
    config, _, other = two
    assert (other / "bmn" / name).read_bytes() != (workdir / "bmn" / name).read_bytes()
    shutil.copy(other / "bmn" / name, workdir / "bmn" / name)
    named = "data.json" if name == SEAL else name  # the first that is not the other's
    assert f"{workdir / 'bmn' / named}: damaged, or of another training" in refused(config, workdir)


@pytest.mark.parametrize("name", [SEAL, *FILES])
def test_a_changed_or_missing_file_is_refused(two, workdir, name):
    path = workdir / "bmn" / name
    path.write_bytes(path.read_bytes() + b" ")
    assert refused(two[0], workdir).startswith(f"{path}: damaged")
    path.unlink()
    assert refused(two[0], workdir).startswith(f"{path}: missing: restore it, or remove")


def test_a_file_that_the_training_did_not_have_is_refused(two, tmp_path):
    config, one, _ = two
    still = {**config, "stages": {**config["stages"], "bmn": {**config["stages"]["bmn"]}}}
    still["stages"]["bmn"]["data"] = {**still["stages"]["bmn"]["data"], "rotation": 0.0}
    remember(build_stage(still, "bmn", tmp_path))
    (tmp_path / "bmn" / "checkpoints" / "2").mkdir(parents=True)
    build_stage(still, "bmn", tmp_path)
    shutil.copy(one / "bmn" / "triaxial.json", tmp_path / "bmn")
    assert "triaxial.json: damaged, or of another training" in refused(still, tmp_path)


def test_checkpoints_of_another_training_are_refused(two, workdir):
    """All that a stage remembers may be that of another training: checkpoints say beside which seal they were."""
    _, _, other = two
    for name in (SEAL, *FILES):
        shutil.copy(other / "bmn" / name, workdir / "bmn")
    with pytest.raises(InputError, match=r"damaged checkpoint .saved by another training"):
        restore_params(workdir, "bmn")
    checkpoints = Checkpoints(workdir, "bmn")
    with pytest.raises(InputError, match=r"checkpoints: saved by another training .*: restore the files of"):
        checkpoints.restore(STATE)
    checkpoints.close()
    assert os.listdir(workdir / "bmn" / "checkpoints") == ["2"]  # nothing was put aside


def test_a_workdir_from_before_there_were_seals(two, workdir):
    unseal_stage(workdir / "bmn")
    expected, found = (build_stage(two[0], "bmn", w).assembler.normalization for w in (two[1], workdir))
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(restore_params(workdir, "bmn")["w"], np.ones(3))


def test_the_training_set_is_remembered(tmp_path):
    known = Metadata(
        ("a",), {"imu": 3}, 0.5, {"training": 2}, (1.0, 2.0), {"training": (3.0,)}, 4, {"imu": "float32"}, "f"
    )
    write_set(tmp_path, "bmn", known, 7)
    seal(tmp_path, "bmn")
    assert read_set(tmp_path, "bmn") is None  # nothing was saved: it may be another set
    (tmp_path / "bmn" / "checkpoints" / "2").mkdir(parents=True)
    assert read_set(tmp_path, "bmn") == (known, 7)
    path = unseal_stage(tmp_path / "bmn") / "data.json"
    older = json.loads(path.read_text())
    older["metadata"]["dtype"] = older["metadata"].pop("dtypes")["imu"]
    path.write_text(json.dumps(older))
    assert read_set(tmp_path, "bmn") == (known, 7)
    path.write_text("{}")
    with pytest.raises(InputError, match=r"data\.json: damaged, it lacks 'metadata'"):
        read_set(tmp_path, "bmn")
