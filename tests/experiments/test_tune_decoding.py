"""launch.tune: the search, and the whole command on tiny files."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from support.clip_set import prepare_clip_set, tiny_weak_config
from support.commands import run as command_run

from tal_jax.data import dataset
from tal_jax.detect.detect import detect
from tal_jax.errors import InputError
from tal_jax.experiments import tune_decoding as tune
from tal_jax.models.mgfn import MGFN
from tal_jax.stages.stage import build_stage
from tal_jax.stages.tuned_decoding import path_of, read_tuned, tuned
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow

# The search


def counted(score):
    """The score, and the list of the settings that it was asked for."""
    asked = []

    def f(decoding):
        asked.append(decoding)
        return score(decoding)

    return f, asked


def test_the_search_finds_a_known_best_setting():
    best = Decoding(2.0, 0.2, 0.2, 0.7, 0.1, 0.25, 0.8)  # the fields that are not searched stay
    score, asked = counted(
        lambda d: 1 - sum(abs(getattr(d, f.name) - getattr(best, f.name)) for f in dataclasses.fields(d)) / 10
    )
    seen = []
    found, scores = tune.search(score, Decoding(), tune.GRID, advance=seen.append)
    assert found == best
    assert scores[found] == max(scores.values()) == 1
    assert len(asked) == len(set(asked)) == len(scores)  # nothing is tried twice
    # The second sweep changes nothing and is the last one.
    assert sum(seen) == 2 * sum(map(len, tune.GRID.values()))


def test_fields_that_depend_on_each_other_take_more_than_one_sweep():
    def score(d):
        return float(d.smoothing == 3.0) * float(d.nms_sigma == 0.8) + 0.1 * float(d.nms_sigma == 0.8)

    found, scores = tune.search(score, Decoding(), tune.GRID)
    assert (found.smoothing, found.nms_sigma) == (3.0, 0.8)
    assert scores[found] == pytest.approx(1.1)


def test_ties_and_small_gains_keep_the_present_value():
    start = Decoding(smoothing=0.25, class_weight=0.7)  # not on the grid
    assert tune.search(lambda d: 0.5, start, tune.GRID)[0] == start
    gain = tune.MIN_GAIN
    assert tune.search(lambda d: 0.5 + (d.smoothing == 2.0) * gain * 0.9, start, tune.GRID)[0] == start
    found, _ = tune.search(lambda d: 0.5 + (d.smoothing == 2.0) * gain * 1.1, start, tune.GRID)
    assert found == dataclasses.replace(start, smoothing=2.0)
    # Of equal gains, the first.
    found, _ = tune.search(lambda d: float(d.smoothing >= 2.0), start, tune.GRID)
    assert found.smoothing == 2.0


def test_the_score_never_falls_and_thresholds_stay_in_order():
    rng = np.random.default_rng(0)
    for start in (Decoding(), Decoding(lowest=0.6, highest=0.65)):
        score, asked = counted(lambda d: rng.uniform())
        found, scores = tune.search(score, start, tune.GRID)
        assert scores[found] >= scores[start]
        assert all(d.lowest < d.highest for d in asked)


@pytest.mark.parametrize(
    ("stride", "smoothing"),
    [(0.2, (0, 0.5, 1, 2, 3, 4)), (0.5, (0, 1, 2, 3, 4)), (1.5, (0, 2, 3, 4, 4.5, 7.5)), (8.0, (0, 16, 24, 40))],
)
def test_smoothing_fits_the_stride(stride, smoothing):
    assert tune.fields_in_use(MGFNTask(MGFN(2)), stride)["smoothing"] == smoothing


def test_fields_that_decoding_does_not_read_are_left_out():
    regressed = MGFN(2, anchors=(2.0,))
    searched = {f.name for f in dataclasses.fields(Decoding)} - {"class_threshold", "class_weight"}
    assert set(tune.fields_in_use(MGFNTask(MGFN(2)), 0.1)) == searched - {"regressed_weight"}
    assert set(tune.fields_in_use(MGFNTask(regressed, segments="both"), 0.1)) == searched
    assert "highest" not in tune.fields_in_use(MGFNTask(regressed), 0.1)
    assert "highest" in tune.fields_in_use(MGFNTask(regressed, segments="thresholded"), 0.1)
    assert "nms_sigma" not in tune.fields_in_use(MGFNTask(MGFN(2), nms_method="linear"), 0.1)


# The whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """FOLDER/data with clips, FOLDER/run trained on it."""
    folder = tmp_path_factory.mktemp("tune")
    prepare_clip_set(folder)
    train_and_evaluate(tiny_weak_config(folder / "data").to_dict(), folder / "run")
    return folder


@pytest.fixture
def run(folder, tmp_path):
    """A copy of the trained workdir."""
    shutil.copytree(folder / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(tune, "COMPOSITES", 24)


def test_tuning_gains_and_detection_uses_it(run):
    before = detect(run, "validation").table
    result = tune.tune(run)
    assert (result.composites, result.recordings, result.source) == (24, 6, "clips")
    assert result.score_before < result.score_after <= 1
    assert result.before == Decoding()
    task = build_stage(read(run), "mgfn", run).task
    assert result.after == read_tuned(run, "mgfn") == tuned(task, run, "mgfn").decoding
    assert task.decoding == result.before
    written = json.loads(path_of(run, "mgfn").read_text())
    facts = {"score": result.score_after, "config_score": result.score_before, "composites": 24, "seed": 0}
    assert written == {"decoding": dataclasses.asdict(result.after), **facts, "source": "clips"}
    after = detect(run, "validation").table
    assert len(after) != len(before) or (after.segments != before.segments).any() or (after.score != before.score).any()


def read(run):
    return json.loads((run / "config.json").read_text())


def test_tuning_again_starts_from_the_config(run):
    first = tune.tune(run)
    content = path_of(run, "mgfn").read_bytes()
    again = tune.tune(run)
    assert again.before == first.before == Decoding()
    assert path_of(run, "mgfn").read_bytes() == content
    tune.tune(run, seed=3)
    other = json.loads(path_of(run, "mgfn").read_bytes())
    assert other["seed"] == 3
    assert other["config_score"] != first.score_before


@pytest.mark.parametrize("source", ["clips", "detections"])
def test_segments_change_nothing_bit_for_bit(run, monkeypatch, source):
    if source == "detections":
        monkeypatch.setattr(tune, "_clips", lambda *args: [])
    assert tune.tune(run).source == source
    content = path_of(run, "mgfn").read_bytes()
    path_of(run, "mgfn").unlink()
    real, rng, noisy = dataset.Split.__getitem__, np.random.default_rng(0), []

    def scrambled(self, i):
        record = real(self, i)
        segments = np.sort(rng.uniform(0, record.duration, (3, 2)), axis=1)
        noisy.append(i)
        return dataclasses.replace(record, segments=segments, labels=rng.integers(0, 3, 3).astype(np.int32))

    monkeypatch.setattr(dataset.Split, "__getitem__", scrambled)
    tune.tune(run)
    assert noisy
    assert path_of(run, "mgfn").read_bytes() == content


def test_one_compilation_serves_all_settings(run, monkeypatch):
    traced, real = [], MGFNTask.decode

    def decode(self, *args):
        traced.append(1)
        return real(self, *args)

    monkeypatch.setattr(MGFNTask, "decode", decode)
    result = tune.tune(run)
    assert result.settings > 20
    assert len(traced) == 1


def test_only_held_out_recordings_and_clips_are_used(run, monkeypatch):
    seen, real = [], tune.compose

    def compose(hosts, index, clips, **kwargs):
        found = real(hosts, index, clips, **kwargs)
        seen.extend((found, clips))
        return found

    monkeypatch.setattr(tune, "compose", compose)
    tune.tune(run)
    found, clips = seen
    assert {c.host for c in found.compositions} == {0, 2, 4, 6, 8, 10}
    assert {clip.position for clip in clips} == set(range(0, 17, 2))
    assert {clip.split.split for clip in clips} == {"clips"}


def test_clips_that_are_recordings_of_the_training_are_left_out(run, monkeypatch):
    stage = build_stage(read(run), "mgfn", run)
    ids = tune.open_split(stage.training.directory, "clips").ids
    stage.training.ids = stage.training.ids.copy()
    stage.training.ids[0], stage.training.ids[1] = ids[2], ids[4]  # the first is held out, the second learned from
    assert [clip.position for clip in tune._clips(stage, 0.5)] == [0, 2, 6, 8, 10, 12, 14, 16]


def test_without_clips_detections_are_cut(folder, run, monkeypatch):
    seen, real = [], tune.compose
    prepare_clip_set(folder / "bare", clips=False)
    config = tiny_weak_config(folder / "bare" / "data")
    train_and_evaluate(config.to_dict(), folder / "bare" / "run")

    def compose(hosts, index, clips, **kwargs):
        seen.extend(clips)
        return real(hosts, index, clips, **kwargs)

    monkeypatch.setattr(tune, "compose", compose)
    result = tune.tune(folder / "bare" / "run")
    assert result.source == "detections"
    assert "for want of clips" in tune.table(result)
    assert result.score_after >= result.score_before
    table = detect(folder / "bare" / "run", "training").table  # at the tuned decoding: only to compare the places
    assert len(table)
    per_recording = np.bincount([clip.position for clip in seen])
    assert per_recording.max() <= tune.CUTS
    training = dataset.open_split(folder / "bare" / "data", "training")
    for clip in seen:
        assert clip.position % 2 == 0
        record = training[clip.position]
        assert clip.label in record.present
        assert 0 <= clip.first < clip.end <= len(record.features["imu"])


def test_regressed_segments_have_no_highest_threshold(folder, tmp_path):
    train_and_evaluate(tiny_weak_config(folder / "data", "full").to_dict(), tmp_path)
    result = tune.tune(tmp_path)
    assert result.score_after >= result.score_before > 0
    assert result.after.highest == result.before.highest
    assert not (tmp_path / "trimmed" / "tuned.json").exists()
    refused_kind = r"--stage=trimmed: method 'trimmed' has no decoding"
    with pytest.raises(InputError, match=refused_kind):
        tune.tune(tmp_path, stage="trimmed")


# Refusals


def refused(run, message, **kwargs):
    with pytest.raises(InputError, match=message):
        tune.tune(run, **kwargs)
    assert not list(run.rglob("tuned.json"))


def edit(run, change):
    config = read(run)
    change(config)
    (run / "config.json").write_text(json.dumps(config))


def test_bad_workdirs_are_named(run, folder, tmp_path):
    refused(tmp_path / "none", "not the workdir of a training")
    refused(run, r"--stage=bmn: no such stage: the track is mgfn", stage="bmn")
    edit(run, lambda c: c["data"].update(holdout=0.0))
    refused(run, r"held out no training recording .*--config.data.holdout=0.1")
    edit(run, lambda c: c["data"].update(holdout=0.25))
    refused(run, r"stage mgfn did not hold out the recordings that data\.holdout=0\.25 means")
    edit(run, lambda c: c["data"].update(holdout=0.5))
    prepare_clip_set(tmp_path / "other", seed=5)
    edit(run, lambda c: c["data"].update(dir=str(tmp_path / "other" / "data")))
    refused(run, "trained on another data set")
    edit(run, lambda c: c["data"].update(dir=str(folder / "data")))
    shutil.rmtree(run / "mgfn" / "checkpoints")
    refused(run, "no last checkpoint")


def test_a_damaged_choice_is_refused_until_it_is_made_anew(run):
    path_of(run, "mgfn").write_text("{")
    with pytest.raises(InputError, match=r"tuned.json: damaged.* tune again .*, or remove it"):
        detect(run, "validation")
    result = tune.tune(run)
    assert read_tuned(run, "mgfn") == result.after
    detect(run, "validation")


def test_the_command(run):
    found = command_run("tune", f"--workdir={run}")
    assert (found.returncode, found.stderr) == (0, "")
    heading, *lines = found.stdout.splitlines()
    assert heading.split() == ["config", "tuned"]
    names = [f.name for f in dataclasses.fields(Decoding)]
    lines, last = lines[: len(names)], lines[len(names) :]
    assert [line.split()[0] for line in lines] == names
    stored = json.loads(path_of(run, "mgfn").read_text())
    for line in lines:
        name, before, after = line.split()
        assert float(before) == getattr(Decoding(), name)
        assert float(after) == pytest.approx(stored["decoding"][name])
    assert last[0].split()[-2:] == [f"{100 * stored['config_score']:.2f}", f"{100 * stored['score']:.2f}"]
    assert last[1] == "on 200 composites of 6 held-out recordings, with actions from clips"
    assert "settings in" in last[2]


def test_the_command_refuses_in_one_line(tmp_path):
    prepare_clip_set(tmp_path, labels=[0, 1, 2])  # every class in every recording
    config = tiny_weak_config(tmp_path / "data")
    config.stages.mgfn.steps = 1
    train_and_evaluate(config.to_dict(), tmp_path / "run")
    result = command_run("tune", f"--workdir={tmp_path / 'run'}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "labelled with all classes" in result.stderr
    assert not path_of(tmp_path / "run", "mgfn").exists()
