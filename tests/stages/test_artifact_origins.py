"""What a workdir holds belongs to a set and to parameters: what is of others, or damaged, is refused or made anew."""

import contextlib
import dataclasses
import functools
import json
import re
import shutil

import numpy as np
import pytest
from support.sensor_set import STRIDE, tiny_config, write_files
from support.unsealed import unseal_stage

from tal_jax.data import proposals
from tal_jax.data.dataset import open_split, read_metadata
from tal_jax.data.parquet import read_origin
from tal_jax.detect.detect import detect
from tal_jax.detect.remarks import remark
from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.config import parse
from tal_jax.stages.handover import parameter_digest
from tal_jax.stages.plan import check_held_out
from tal_jax.stages.recordings import held_out_digest
from tal_jax.stages.stage import build_stage, remember
from tal_jax.stages.workdir import finished_parameters, newest_step
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.evaluate import evaluate_stage
from tal_jax.train.loop import train_and_evaluate
from tal_jax.windows import strange_stride

pytestmark = pytest.mark.slow

FILE = "bmn/proposals.parquet"


def packed(folder, stride=STRIDE, accept=()):
    prepare(
        Options(
            annotations=str(folder / "annotations.json"), features={"imu": str(folder / "features")},
            stride=str(stride), out=str(folder / "data"), dtype="float32", workers=1, accept=accept,
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
    (unseal_stage(workdir / "tcanet") / "inputs.json").unlink()
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
    path = unseal_stage(tmp_path / "bmn") / "data.json"
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
    proposals.write(path, [(id, 25 * segments, scores) for id, segments, scores in items])
    with pytest.raises(InputError, match=rf"^{path}: 16 of 16 segments lie beyond the end of their recordings"):
        build_stage(given, "tcanet", tmp_path)
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


def relabelled(folder, change):
    """The tests' set with other annotations: the same recordings by the same ids."""
    database = write_files(folder)
    for entry in database.values():
        entry["annotations"] = change(entry["annotations"])
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    return packed(folder, accept=("no_segments",))


@pytest.mark.parametrize(
    "change",
    [
        lambda found: [*found, *({"segment": [0.0, 1.0], "label": label} for label in ("aaa", "aab", "zzz"))],
        lambda found: [{**row, "label": row["label"].replace("action", "0 other")} for row in found],
        lambda found: [],
    ],
    ids=["more, sorted before", "others", "none"],
)
def test_detection_needs_no_labels_of_the_set(workdir, tmp_path, change):
    """They are found by the features alone, and named as the model was trained."""
    expected, found = (
        detect(workdir, "validation", data_dir=str(directory))
        for directory in (relabelled(tmp_path / "same", lambda found: found[:1]), relabelled(tmp_path / "new", change))
    )
    assert found.labels == expected.labels == ("action_0", "action_1")
    for column in dataclasses.fields(expected.table):
        np.testing.assert_array_equal(getattr(found.table, column.name), getattr(expected.table, column.name))


def test_rows_have_the_classes_of_the_model(workdir, config, tmp_path):
    """Those of the set that it does not know are background."""
    directory = relabelled(tmp_path / "s", lambda found: [*found, {"segment": [0.0, 1.0], "label": "aaa"}])
    stage = build_stage(on(config, directory), "bmn", workdir)
    own, other = (open_split(d, "training") for d in (config["data"]["dir"], directory))
    alike = build_stage(config, "bmn", workdir).assembler
    for i in range(len(own)):
        one, two = (a.detection_row(r[i], i, 0.0)[0] for a, r in ((alike, own), (stage.assembler, other)))
        for name in ("segments", "segment_labels", "segment_mask", "labels", "features"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    with pytest.raises(InputError, match="its classes are not those that stage bmn was trained with"):
        evaluate_stage(stage, None, None, 1)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def holding(content):
    return lambda path: path.write_bytes(content)


def without_values(path):
    np.savez(path, mean=np.full(3, np.nan, np.float32), std=np.ones(3, np.float32))


def of_another_width(path):
    np.savez(path, mean=np.zeros(2, np.float32), std=np.ones(2, np.float32))


def still(path):
    np.savez(path, mean=np.zeros(3, np.float32), std=np.zeros(3, np.float32))


AGAIN = r"remove \S*bmn/finished.json and start launch.train --workdir=\S+ again, which writes it"


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("bmn/proposals.parquet", cut, AGAIN),
        ("bmn/proposals.parquet", holding(b""), AGAIN),
        ("bmn/proposals.parquet", "missing", AGAIN),
        ("tcanet/inputs.json", holding(b'{"proposals": 3}'), "'proposals' is a whole number"),
        ("tcanet/inputs.json", holding(b"[]"), "holds a list where an object is expected"),
        ("bmn/finished.json", holding(b"[1]"), "remove it and start launch.train"),
        ("tcanet/finished.json", holding(b""), "damaged, empty"),
        ("tcanet/data.json", holding(b""), "damaged, empty: restore it, or remove"),
        ("tcanet/data.json", "missing", "missing: restore it, or remove"),
        ("tcanet/data.json", holding(b'{"metadata": {"labels": 3}, "longest": 3}'), "not what is known of a set"),
        ("tcanet/config.json", holding(b"{}"), "it lacks 'stages'"),
        ("bmn/config.json", holding(b"[" * 10_000 + b"]" * 10_000), "nested"),
        ("tcanet/normalization.npz", without_values, "channel 0 has the mean nan"),
        ("tcanet/normalization.npz", still, "the deviation 0.0"),
        ("tcanet/normalization.npz", of_another_width, r"shape \(2,\), expected 3 numbers"),
        ("tcanet/normalization.npz", holding(b"PK"), "not an archive of mean, std"),
        ("tcanet/normalization.npz", "a folder", "a folder, not a file"),
        ("tcanet/triaxial.json", holding(b"[[1]"), "triaxial.json"),
        ("tcanet/tuned.json", holding(b'{"decoding": []}'), "'decoding' is a list, expected an object"),
        ("tcanet/checkpoints", "missing", "checkpoint"),
    ],
)
def test_training_and_detection_refuse_the_same_files(workdir, config, file, damage, words):
    """A finished training is not called done where detection cannot use it; no traceback, and what to do."""
    for stage in ("bmn", "tcanet"):
        unseal_stage(workdir / stage)
    path = workdir / file
    if damage in ("missing", "a folder"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if damage == "a folder":
            path.mkdir()
    else:
        damage(path)
    for command in (lambda: train_and_evaluate(config, workdir), lambda: detect(workdir, "validation")):
        with pytest.raises(InputError, match=words) as error:
            command()
        assert "\n" not in str(error.value)
        assert not re.search("object has no attribute|not subscriptable|Error\\(", str(error.value))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[]", "holds a list"), (b"{}", "its track names no stage"), (b"", "damaged, empty"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested"), ('{"seed": 1}'.encode("utf-16"), "is not UTF-8 text"),
        (b'{"track": ["../x"], "stages": {"../x": {"task": "bmn"}}}', "cannot be the name of a stage"),
        (None, "a folder, not a file"),
    ],
)  # fmt: skip
def test_a_config_that_is_none_is_one_line(tmp_path, content, words):
    path = tmp_path / "config.json"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        detect(tmp_path, "validation")
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_lost_artifact_is_written_again_from_the_checkpoint(workdir, config, capsys):
    """As the message says, and with the same content: the stage after it is as good as before."""
    before, step = proposals.read(workdir / FILE), newest_step(workdir, "bmn")
    (workdir / FILE).unlink()
    (workdir / "bmn" / "finished.json").unlink()
    train_and_evaluate(config, workdir)
    again = proposals.read(workdir / FILE)
    assert list(again) == list(before)
    for id in before:
        for one, other in zip(again[id], before[id], strict=True):
            np.testing.assert_array_equal(one, other)
    assert newest_step(workdir, "bmn") == step
    assert "stage tcanet: finished, nothing to do" in capsys.readouterr().out


def test_a_changed_config_is_said(workdir, capsys):
    """Somebody may want another decoding; nobody wants it unsaid."""
    path = workdir / "config.json"
    content = json.loads(path.read_text())
    detect(workdir, "validation", stage="bmn")
    assert "has changed" not in capsys.readouterr().out
    content["stages"]["bmn"]["options"]["candidates"] = 1
    path.write_text(json.dumps(content))
    detect(workdir, "validation", stage="bmn")
    said = capsys.readouterr().out
    assert "stage bmn: config.json has changed since its training: stages.bmn.options.candidates 40 -> 1" in said
    content["data"]["normalize"] = not content["data"]["normalize"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"bmn/config\.json: stage bmn was begun with data\.normalize"):
        detect(workdir, "validation", stage="bmn")


def test_an_unfinished_stage_is_said(workdir, capsys):
    for path in (workdir / "config.json", workdir / "tcanet" / "config.json"):
        content = json.loads(path.read_text())
        content["stages"]["tcanet"]["steps"] = 240
        path.write_text(json.dumps(content))
    detect(workdir, "validation")
    assert "trained for" not in capsys.readouterr().out
    (workdir / "tcanet" / "finished.json").unlink()
    detect(workdir, "validation")
    assert "stage tcanet: trained for 2 of 240 steps: launch.train goes on" in capsys.readouterr().out


def test_another_stride_is_said(workdir, config, tmp_path, capsys):
    database = write_files(tmp_path)
    for entry in database.values():
        entry["duration"] *= 3
    (tmp_path / "annotations.json").write_text(json.dumps({"database": database}))
    packed(tmp_path, stride=3 * STRIDE)
    stage = build_stage(on(config, tmp_path / "data"), "bmn", workdir)
    remark(stage, open_split(tmp_path / "data", "validation"))
    said = capsys.readouterr().out
    assert "a snippet every 1.5 s, but the model was trained with one every 0.5 s, 3 times as long" in said
    remark(stage, open_split(config["data"]["dir"], "validation"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("stride", "trained", "words"),
    [(0.5, 0.5, ""), (0.7, 0.5, ""), (0.5, None, ""), (1.5, 0.5, "3 times as long"), (0.1, 0.5, "5 times as short")],
)
def test_a_stride_that_is_far_from_the_training(stride, trained, words):
    assert (words in strange_stride(stride, trained)) if words else strange_stride(stride, trained) == ""
