"""Training end to end on tiny files: stages, resuming, what is written, and what stops a run."""

import functools
import json
import os
import shutil

import jax
import numpy as np
import pytest
from support.runs import Killed, at_step, losses
from support.sensor_set import prepare_set
from support.sensor_set import tiny_config as two_refinements

from tal_jax.configs import supervised
from tal_jax.data import class_scores, proposals
from tal_jax.data.dataset import open_split
from tal_jax.deploy.export import export
from tal_jax.deploy.model import load
from tal_jax.detect.detect import detect
from tal_jax.detect.ensemble_members import open_runs
from tal_jax.detect.ensemble_outputs import detect_together
from tal_jax.errors import InputError, TrainingDiverged
from tal_jax.stages.lock import locked
from tal_jax.train import population as program
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate

tiny_config = functools.partial(two_refinements, refinements=1, encoders=1)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """One uninterrupted run of both stages."""
    workdir = tmp_path_factory.mktemp("run")
    train_and_evaluate(tiny_config(data).to_dict(), workdir)
    return workdir


def lines(workdir, stage):
    return [json.loads(line) for line in (workdir / stage / "metrics.jsonl").read_text().splitlines()]


def test_a_run_writes_what_it_promises(trained):
    for stage in ("bmn", "tcanet"):
        assert (trained / stage / "finished.json").exists()
        assert list((trained / stage).glob("events.out.tfevents.*"))
        steps = [x["step"] for x in lines(trained, stage) if "loss" in x]
        assert steps == [1, 2, 3, 4]
        assert any("average" in x for x in lines(trained, stage))
        assert all(np.isfinite(x["loss"]) for x in lines(trained, stage) if "loss" in x)
    found = proposals.read(trained / "bmn" / "proposals.parquet")
    assert sorted(found) == [f"r{i:02d}" for i in range(12)]  # both splits
    assert all(len(scores) for _, scores in (found[i] for i in found))


def test_restored_parameters_are_plain_arrays(trained):
    for stage in ("bmn", "tcanet"):
        leaves = jax.tree.leaves(restore_params(trained, stage))
        assert leaves
        assert {type(x) for x in leaves} == {np.ndarray}
    with pytest.raises(InputError, match="no last checkpoint"):
        restore_params(trained, "classifier")


def test_detections_lie_in_their_recordings(trained):
    submission = detect(trained, "validation")
    assert submission.recordings == ("r08", "r09", "r10", "r11")
    table = submission.table
    assert len(table)
    assert set(table.label.tolist()) <= {0, 1}
    assert (table.segments[:, 0] >= 0).all()
    assert (table.segments[:, 1] > table.segments[:, 0]).all()
    assert table.segments.max() <= 28 * 0.5
    proposed = detect(trained, "validation", stage="bmn").table
    assert len(proposed)
    assert set(proposed.label.tolist()) == {-1}


def test_finished_stages_are_not_trained_again(trained, data, capsys):
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("*.jsonl")}
    train_and_evaluate(tiny_config(data).to_dict(), trained)
    assert {p: p.stat().st_mtime_ns for p in trained.rglob("*.jsonl")} == before
    assert capsys.readouterr().out.count("finished, nothing to do") == 2


def test_another_config_is_refused(trained, data):
    config = tiny_config(data)
    config.stages.bmn.optimizer.learning_rate = 0.5
    with pytest.raises(InputError, match=r"stage bmn belongs to another config .*learning_rate 0.001 -> 0.5"):
        train_and_evaluate(config.to_dict(), trained)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(trained, data, tmp_path, monkeypatch):
    at_step(3, monkeypatch)  # one step after the checkpoint of step 2
    workdir = tmp_path / "run"
    config = tiny_config(data).to_dict()
    with pytest.raises(Killed):
        train_and_evaluate(config, workdir)
    assert not (workdir / "bmn" / "finished.json").exists()
    train_and_evaluate(config, workdir)
    for stage in ("bmn", "tcanet"):
        assert losses(workdir, stage) == losses(trained, stage)
        jax.tree.map(np.testing.assert_array_equal, restore_params(workdir, stage), restore_params(trained, stage))


def flip(path):
    """Changes one byte in the middle of the largest file of a checkpoint."""
    largest = max((p for p in (path / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 0x40
    largest.write_bytes(data)


def truncate(path):
    for file in (p for p in (path / "state").rglob("*") if p.is_file()):
        os.truncate(file, file.stat().st_size // 2)


def other_arrays(path):
    """A checkpoint whose files are intact, but not those that were written: the sums of its arrays do not match."""
    (sums,) = (path / "checksums").glob("*metadata*")
    content = json.loads(sums.read_text())
    sums.write_text(json.dumps({name: value ^ 1 for name, value in content.items()}))


DAMAGE = {"flipped": flip, "truncated": truncate, "lost": lambda p: shutil.rmtree(p / "state"), "other": other_arrays}


# Orbax forgets a coroutine when it finds its metadata damaged.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(trained, data, tmp_path, monkeypatch, capsys, damage):
    at_step(4, monkeypatch)
    config = tiny_config(data)
    config.checkpoint.every_steps = 1
    workdir = tmp_path / "run"
    with pytest.raises(Killed):
        train_and_evaluate(config.to_dict(), workdir, "bmn")
    newest = max(
        (p for p in (workdir / "bmn" / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name)
    )
    assert newest.name == "3"
    DAMAGE[damage](newest)
    with pytest.raises(InputError, match="damaged checkpoint"):
        restore_params(workdir, "bmn")
    train_and_evaluate(config.to_dict(), workdir, "bmn")
    said = capsys.readouterr().out
    assert f"{newest}: damaged checkpoint" in said
    assert "going on from step 2" in said
    assert (workdir / "bmn" / "damaged" / "3").is_dir()
    jax.tree.map(np.testing.assert_array_equal, restore_params(workdir, "bmn"), restore_params(trained, "bmn"))


def test_two_trainings_in_one_workdir(data, tmp_path, monkeypatch):
    config = tiny_config(data).to_dict()
    with locked(tmp_path), pytest.raises(InputError, match=rf"process {os.getpid()} on .* is training here"):
        train_and_evaluate(config, tmp_path, "bmn")
    assert not (tmp_path / "config.json").exists()
    for name in ("lock", "lock.owner"):  # nobody holds it
        (tmp_path / name).write_text("process 1 on another machine")
    train_and_evaluate(config, tmp_path, "bmn")


def test_given_proposals_replace_the_bmn_stage(trained, data, tmp_path, capsys):
    config = tiny_config(data)
    config.stages.tcanet.proposals = str(trained / "bmn" / "proposals.parquet")
    train_and_evaluate(config.to_dict(), tmp_path)
    assert "stage bmn: not needed" in capsys.readouterr().out
    assert losses(tmp_path, "tcanet") == losses(trained, "tcanet")


def test_a_stage_can_be_run_again(trained, data, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    config = tiny_config(data)
    config.stages.tcanet.data.noise = 0.6  # the host's part: nothing is compiled again
    train_and_evaluate(config.to_dict(), workdir, stage="tcanet")
    assert losses(workdir, "tcanet") != losses(trained, "tcanet")
    assert losses(workdir, "bmn") == losses(trained, "bmn")
    assert (workdir / "tcanet.previous" / "finished.json").exists()


def test_infinite_gradients_stop_the_run_and_name_the_recordings(data, tmp_path):
    config = tiny_config(data)
    config.stages.bmn.optimizer.learning_rate = 1e30
    with pytest.raises(TrainingDiverged, match=r"not finite at step \d+, recordings r0\d"):
        train_and_evaluate(config.to_dict(), tmp_path)
    if (tmp_path / "bmn" / "checkpoints").exists():
        saved = [p for p in (tmp_path / "bmn" / "checkpoints").iterdir() if p.name.isdigit()]
        for leaf in jax.tree.leaves(restore_params(tmp_path, "bmn")) if saved else []:
            assert np.isfinite(leaf).all()


def test_the_step_is_compiled_once(data, tmp_path, monkeypatch):
    traced = []
    real = program.make_train_step

    def make(*args, **kwargs):
        step = real(*args, **kwargs)

        def counted(state, batch):
            traced.append(1)
            return step(state, batch)

        return counted

    monkeypatch.setattr(program, "make_train_step", make)
    config = tiny_config(data).to_dict() | {"seed": 17}  # no test before this one has trained with it
    train_and_evaluate(config, tmp_path / "first", stage="bmn")
    assert len(traced) == 1
    train_and_evaluate(config, tmp_path / "again", stage="bmn")  # an equal program is not traced again
    assert len(traced) == 1
    assert losses(tmp_path / "first", "bmn") == losses(tmp_path / "again", "bmn")


def test_video_level_classes_from_a_classifier_stage(data, tmp_path):
    from tal_jax.configs import supervised

    config = two_refinements(data, refinements=1)  # without an encoder, less to compile
    supervised.choose_classes(config, "classifier")
    classifier = config.stages.classifier
    classifier.batch_size, classifier.steps, classifier.eval_every_steps = 4, 3, 0
    classifier.model.hidden = 8
    train_and_evaluate(config.to_dict(), tmp_path)
    scores = class_scores.read(tmp_path / "classifier" / "class_scores.parquet", ["action_0", "action_1"])
    assert len(scores) == 12
    assert set(detect(tmp_path, "validation").table.label.tolist()) <= {0, 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages.bmn.model.hiden": 3}, "stages.bmn.model.hiden: no such key: did you mean 'hidden'"),
        ({"stages.bmn.options.sigma": 3}, "stages.bmn.options.sigma: no such key: did you mean"),
        ({"stages.bmn.data.mode": "pad"}, "data.mode is 'window' or 'resize'"),
        ({"stages.bmn.task": "bnm"}, "stages.bmn.task: no method 'bnm': did you mean 'bmn'"),
        ({"stages.bmn.batch_size": 3}, "batch_size 3 does not divide over 4 devices"),
        ({"stages.bmn.optimizer.schedule": "linear"}, "optimizer.schedule"),
        ({"stages.bmn.model.dtype": "float16"}, "stages.bmn: model.dtype is 'float32' or"),
        ({"data.dir": ""}, "data.dir is empty"),
        ({"data.dir": "/nowhere"}, "no complete data set, there is none: check"),
        ({"data.dir": "no/where"}, "^no/where: no complete data set, there is none in /"),
        ({"stages.tcanet.class_scores": "s.json"}, "stages.tcanet.class_scores=s.json: .* takes no class scores"),
        ({"data.streams": ("flow",)}, "no stream 'flow'"),
        ({"data.train_split": "trainin"}, "no split 'trainin'"),
        ({"track": ("bmn", "tcan")}, "no stage 'tcan'"),
    ],
)
def test_bad_configs_are_named(data, tmp_path, change, message):
    config = tiny_config(data)
    with config.unlocked():
        config.update_from_flattened_dict(change)
    with pytest.raises(InputError, match=message):
        train_and_evaluate(config.to_dict(), tmp_path)


def test_a_trained_workdir_detects_in_another_set(trained, tmp_path):
    prepare_set(tmp_path, training=0, validation=3, seed=5, length=60)
    submission = detect(trained, "validation", data_dir=str(tmp_path / "data"))
    assert submission.recordings == ("r00", "r01", "r02")
    assert submission.labels == ("action_0", "action_1")
    found = submission.table
    assert set(found.recording.tolist()) == {0, 1, 2}
    assert found.segments.max() > 28 * 0.5  # beyond the frame of the training: windows were merged


def test_proposals_must_be_those_of_the_recordings(data, tmp_path):
    proposals.write(tmp_path / "p.parquet", [("other", np.array([[0.0, 1.0]]), np.array([0.5]))])
    config = tiny_config(data)
    config.stages.tcanet.proposals = str(tmp_path / "p.parquet")
    with pytest.raises(InputError, match="proposals are of none of the recordings"):
        train_and_evaluate(config.to_dict(), tmp_path / "w")


def test_another_data_set_is_refused(data, tmp_path):
    prepare_set(tmp_path, seed=1)
    config = tiny_config(data)
    config.stages.bmn.steps = 1
    train_and_evaluate(config.to_dict(), tmp_path / "w", stage="bmn")
    (tmp_path / "w" / "bmn" / "finished.json").unlink()
    config.data.dir = str(tmp_path / "data")
    with pytest.raises(InputError, match="begun with another data set"):
        train_and_evaluate(config.to_dict(), tmp_path / "w")


def test_both_supervised_stages_as_one(data, tmp_path):
    """It trains, detects as its exported model does, and says that its outputs cannot be averaged."""
    config = tiny_config(data)
    supervised.choose_classes(config, "joint", pool=2)
    config.stages.joint.steps = 2
    config.stages.joint.model.tcanet.update(encoders=0, snippet_head=False)  # less to compile
    train_and_evaluate(config.to_dict(), tmp_path / "w")
    assert losses(tmp_path / "w", "joint")
    found = detect(tmp_path / "w", "validation")
    model = load(export(tmp_path / "w", tmp_path / "e"))
    split = open_split(data, "validation")
    for i, record in enumerate(split.records(np.arange(len(split)))):
        own = found.table.take(found.table.recording == i)
        rows = model(record.features["imu"], stride=record.stride, duration=record.duration)
        assert len(rows) == len(own) > 0
        np.testing.assert_allclose(sorted(r["score"] for r in rows), np.sort(own.score), atol=1e-5)
    with pytest.raises(InputError, match=r"stage joint \(joint\): .*--fusion=detections"):
        detect_together(open_runs([tmp_path / "w"], "validation"), [1.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.bmn.hiden": 3}, "stages.joint.model.bmn.hiden: no such key: did you mean 'hidden'"),
        ({"options.tcanet.fusee": 3}, "stages.joint.options.tcanet.fusee: no such key: did you mean 'fuse'"),
        ({"model.tcanet.dtype": "float16"}, "stages.joint: tcanet: model.dtype is 'float32' or"),
        ({"options.tcanet.fuse": "first"}, "stages.joint: tcanet: fuse is"),
    ],
)
def test_bad_keys_of_both_stages_as_one_are_named_as_they_are_written(data, tmp_path, change, message):
    config = tiny_config(data)
    supervised.choose_classes(config, "joint", pool=2)
    with config.unlocked():
        config.stages.joint.update_from_flattened_dict(change)
    with pytest.raises(InputError, match=message):
        train_and_evaluate(config.to_dict(), tmp_path)
