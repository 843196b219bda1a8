"""Artifacts belong to a set and to parameters: what was made from others is refused, or made anew."""

import contextlib
import dataclasses
import functools
import json
import shutil

import numpy as np
import pytest
from support.sensor_set import STRIDE, tiny_config, write_files

from tal_jax.data import proposals
from tal_jax.data.dataset import open_split, read_metadata
from tal_jax.data.parquet import read_origin
from tal_jax.detect.detect import detect
from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.config import parse
from tal_jax.stages.handover import parameter_digest
from tal_jax.stages.plan import check_held_out
from tal_jax.stages.recordings import held_out_digest
from tal_jax.stages.stage import build_stage, remember
from tal_jax.stages.workdir import finished_parameters
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate

FILE = "bmn/proposals.parquet"


def packed(folder):
    prepare(
        Options(
            annotations=str(folder / "annotations.json"), features={"imu": str(folder / "features")},
            stride=str(STRIDE), out=str(folder / "data"), dtype="float32", workers=1,
        )
    )  # fmt: skip
    return folder / "data"


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """The recordings of the tests' set by their ids, annotations, names and sizes; their features are noise."""
    folder = tmp_path_factory.mktemp("noise")
    write_files(folder)
    rng = np.random.default_rng(9)
    for file in (folder / "features").iterdir():
        np.save(file, rng.normal(0, 1, np.load(file).shape).astype(np.float32))
    return packed(folder)


@pytest.fixture(scope="module")
def config(data):
    config = tiny_config(data, refinements=1)
    config.stages.bmn.steps = config.stages.tcanet.steps = 2
    return config.to_dict()


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    train_and_evaluate(config, workdir)
    return workdir


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(trained, tmp_path / "w")


def on(config, directory):
    return {**config, "data": {**config["data"], "dir": str(directory)}}


def moved(workdir, seconds, **origin):
    """The artifact's proposals somewhere else, with some of its origin changed."""
    path, note = workdir / FILE, read_origin(workdir / FILE)
    found = proposals.read(path)
    proposals.write(path, ((i, found[i][0] + seconds, found[i][1]) for i in found), {**note, **origin})


def test_an_artifact_says_what_it_was_made_from(trained, data):
    metadata, digest = read_metadata(data), parameter_digest(restore_params(trained, "bmn"))
    note = {"fingerprint": metadata.fingerprint, "content": metadata.content, "parameters": digest}
    assert metadata.content
    assert read_origin(trained / FILE) == note
    assert finished_parameters(trained, "bmn") == digest
    assert json.loads((trained / "tcanet" / "inputs.json").read_text()) == {"proposals": note}


def test_sets_of_one_shape_are_told_apart(data, noise):
    one, other = read_metadata(data), read_metadata(noise)
    assert one.fingerprint == other.fingerprint
    assert not one.is_set_of(other)


@pytest.mark.parametrize("finished", ["both", "bmn"])
def test_a_finished_stage_belongs_to_its_set(workdir, config, noise, finished):
    if finished == "bmn":
        shutil.rmtree(workdir / "tcanet")
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(InputError, match=r"stage bmn was begun with another data set than .*: give the one it had"):
        train_and_evaluate(on(config, noise), workdir)
    assert (workdir / "config.json").read_bytes() == before
    assert (workdir / "tcanet").exists() == (finished == "both")


def test_detection_in_another_set_asks_the_stages_before(workdir, noise):
    """The recordings there have the ids of the training's, and are others: its proposals are not theirs."""
    expected = detect(workdir, "validation", data_dir=str(noise)).table
    own = detect(workdir, "validation").table
    moved(workdir, 1.0)
    again = detect(workdir, "validation", data_dir=str(noise)).table
    for column in dataclasses.fields(expected):
        np.testing.assert_array_equal(getattr(again, column.name), getattr(expected, column.name))
    changed = detect(workdir, "validation").table  # of its own set they are what counts
    assert len(changed) != len(own) or not np.array_equal(changed.segments, own.segments)


def test_read_only_commands_write_nothing(workdir, noise):
    def state():
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in workdir.rglob("*") if p.is_file()}

    before = state()
    detect(workdir, "validation", data_dir=str(noise))
    shutil.rmtree(workdir / "tcanet" / "checkpoints")
    kept = {p: s for p, s in before.items() if p.exists()}
    with pytest.raises(InputError, match="made from another set"):
        detect(workdir, "validation", data_dir=str(noise))
    assert state() == kept


def test_other_parameters_are_refused(workdir):
    moved(workdir, 0.0, parameters="of another training")
    with pytest.raises(InputError, match=r"proposals\.parquet: made with other parameters than .* stage 'bmn' has"):
        detect(workdir, "validation")


def test_a_stage_goes_on_with_what_it_was_trained_with(workdir):
    """As after `--stage=bmn` under another config: BMN is another one, and TCANet has not met its proposals."""
    moved(workdir, 0.0, parameters="another training")
    note = json.loads((workdir / "bmn" / "finished.json").read_text())
    (workdir / "bmn" / "finished.json").write_text(json.dumps({**note, "parameters": "another training"}))
    with pytest.raises(InputError, match=r"not the proposals that stage 'tcanet' was trained with: .*--stage=tcanet"):
        detect(workdir, "validation")


def test_a_file_of_another_set_is_refused(trained, config, noise, tmp_path):
    given = {**config, "stages": {**config["stages"]}, "track": ("tcanet",)}
    given["stages"]["tcanet"] = {**config["stages"]["tcanet"], "proposals": str(trained / FILE)}
    refuse = functools.partial(train_and_evaluate, on(given, noise), tmp_path / "w")
    with pytest.raises(InputError, match=r"proposals\.parquet: made from another set than .*: run the stage"):
        refuse()


def test_an_artifact_of_before_has_no_origin_and_is_read(workdir):
    expected = detect(workdir, "validation").table
    found = proposals.read(workdir / FILE)
    proposals.write(workdir / FILE, [(i, *found[i]) for i in found])
    (workdir / "bmn" / "finished.json").write_text('{"steps": 2}')
    (workdir / "tcanet" / "inputs.json").unlink()
    assert read_origin(workdir / FILE) is None
    np.testing.assert_array_equal(detect(workdir, "validation").table.segments, expected.segments)


def test_every_record_is_part_of_what_a_set_is(data, tmp_path):
    """One number of one recording changed: another content."""
    write_files(tmp_path)
    file = tmp_path / "features" / "r03.npy"
    x = np.load(file)
    x[-1, -1] += 1
    np.save(file, x)
    assert not read_metadata(packed(tmp_path)).is_set_of(read_metadata(data))
    assert len(open_split(data, "training")) == 8


def test_a_finished_stage_stays_where_it_cannot_be_trained_again(workdir, config):
    (workdir / FILE).unlink()
    with pytest.raises(InputError, match=r"proposals\.parquet: missing: run stage 'bmn' first"):
        train_and_evaluate(config, workdir, "tcanet")
    assert (workdir / "tcanet" / "finished.json").exists()
    assert not (workdir / "tcanet.previous").exists()


def test_what_was_converted_has_learned_from_no_proposals(workdir, config):
    """It is the step 0 of its stage: a BMN that is trained on makes others, with which it goes on."""
    for step in (workdir / "tcanet" / "checkpoints").iterdir():
        shutil.rmtree(step)
    (workdir / "tcanet" / "checkpoints" / "0").mkdir()
    moved(workdir, 0.0, parameters="another training")
    (workdir / "bmn" / "finished.json").write_text('{"steps": 2}')
    assert build_stage(config, "tcanet", workdir).artifacts["proposals"].origin.parameters == "another training"


@pytest.mark.parametrize(
    ("holdout", "noted", "refused"),
    [(0.4, None, True), (0.5, None, False), (0.4, "of others", True), (0.4, "its own", False)],
)
def test_a_stage_is_measured_on_what_it_did_not_learn_from(config, data, tmp_path, holdout, noted, refused):
    """Shares that are no 1/n meant other recordings once; since then a workdir says which ones they are."""
    held = {**config, "data": {**config["data"], "holdout": holdout}}
    stage = build_stage(held, "bmn", tmp_path)
    remember(stage)
    (tmp_path / "bmn" / "checkpoints" / "2").mkdir(parents=True)
    path = tmp_path / "bmn" / "data.json"
    content = json.loads(path.read_text())
    content["held_out"] = {"its own": held_out_digest(stage.recordings), None: ""}.get(noted, noted)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="did not hold out") if refused else contextlib.nullcontext():
        check_held_out(stage.recordings, parse(held).data, "bmn", tmp_path)


def test_proposals_of_another_system_may_not_be_fractions(data, config, tmp_path):
    """BSN's and BMN's own are fractions of the recordings, which TCANet would look for in the first second."""
    split = open_split(data, "training")
    given = parse(config)
    path = tmp_path / "p.parquet"
    files = {**given.stages["tcanet"].files, "proposals": str(path)}
    stages = {**given.stages, "tcanet": dataclasses.replace(given.stages["tcanet"], files=files)}
    given = dataclasses.replace(given, stages=stages)
    shares, scores = np.array([[0.1, 0.4], [0.0, 1.0]]), np.array([0.9, 0.1])
    proposals.write(path, [(str(id), shares, scores) for id in split.ids])
    assert np.median(split.durations) > 5
    with pytest.raises(InputError, match=rf"^{path}: every segment ends by 1.01, .* --proposal_units=fractions"):
        build_stage(given, "tcanet", tmp_path)
    items = [(str(id), shares * d, scores) for id, d in zip(split.ids, split.durations, strict=True)]
    proposals.write(path, items)
    build_stage(given, "tcanet", tmp_path)


def test_splits_go_by_every_name_of_theirs(data, config, tmp_path):
    """A name that is none was no evaluation, in silence."""
    given = parse(config)
    for name in ("val", "validation"):
        changed = dataclasses.replace(given, data=dataclasses.replace(given.data, eval_split=name, train_split="train"))
        recordings = build_stage(changed, "bmn", tmp_path).recordings
        assert (recordings.training.split, recordings.evaluation.split) == ("training", "validation")
    wrong = dataclasses.replace(given, data=dataclasses.replace(given.data, eval_split="validaton"))
    with pytest.raises(InputError, match=r"data\.eval_split: no split 'validaton': did you mean 'validation'\?"):
        build_stage(wrong, "bmn", tmp_path)
