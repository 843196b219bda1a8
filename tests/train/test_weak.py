"""The weakly-supervised track end to end: no segment is ever looked at, knowledge is handed on, runs resume."""

import dataclasses
import itertools
import json
import shutil

import jax
import numpy as np
import pytest
from support import weak_references as weak
from support.clip_set import STRIDE, WIDTHS, prepare_clip_set, tiny_weak_config
from support.runs import Killed, at_step

from tal_jax.data import clip_features as knowledge
from tal_jax.data.dataset import open_split
from tal_jax.detect.detect import detect
from tal_jax.errors import InputError
from tal_jax.experiments import tune_decoding as tune
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.tuned_decoding import path_of
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow

STAGES = ("trimmed", "mgfn")
STEPS = 6


def tiny(data, row="full", steps=STEPS):
    """A few steps of each stage with everything random on; recordings are windowed, so that places could matter."""
    config = tiny_weak_config(data, row)
    config.log_every_steps = 1
    for stage in (config.stages.trimmed, config.stages.mgfn):
        stage.steps = steps
        stage.model.dropout = 0.2
        # A scale that is left open follows the actions' lengths, where these are known.
        stage.data.update(noise=0.1, stride_jitter=0.2, gain=0.1, min_seconds=1.0, scale=0.0, longest_action=4)
    config.stages.mgfn.data.snippets = 24
    config.stages.mgfn.options.decoding.update(dataclasses.asdict(Decoding()))
    if config.stages.mgfn.regressor:
        config.stages.mgfn.model.anchors = (4.0, 8.0)
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """FOLDER/data: recordings and clips."""
    folder = tmp_path_factory.mktemp("weak")
    prepare_clip_set(folder)
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """A whole track, tuned."""
    return run(folder / "data", folder / "run")


@pytest.fixture(scope="module")
def expected(trained):
    """Its detections."""
    return detect(trained, "validation")


def run(data, workdir):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "COMPOSITES", 12)
        patch.setattr(tune, "GRID", {field: values[1:4] for field, values in tune.GRID.items()})
        train_and_evaluate(tiny(data).to_dict(), workdir)
        tune.tune(workdir)
    return workdir


def learned(workdir, stage):
    """What was logged by step, without wall-clock times."""
    rows = [json.loads(line) for line in (workdir / stage / "metrics.jsonl").read_text().splitlines()]
    timing = {"step_seconds", "waiting"}
    return [{k: v for k, v in row.items() if k not in timing} for row in rows]


def same_params(workdir, other, stage):
    jax.tree.map(np.testing.assert_array_equal, restore_params(workdir, stage), restore_params(other, stage))


# No segment is looked at


def scrambled(annotation, duration, rng):
    """Other segments: anywhere, backwards, empty, before or after the recording; one may become several."""
    kinds = [
        np.sort(rng.uniform(0, duration, 2)), rng.uniform(0, duration, 2)[[1, 0]], np.full(2, duration / 2),
        rng.uniform(-9, -1, 2), rng.uniform(duration, 2 * duration, 2), np.array([-5.0, 2 * duration]),
    ]  # fmt: skip
    chosen = rng.choice(len(kinds), rng.integers(1, 4))
    return [{"segment": kinds[i].tolist(), "label": annotation["label"]} for i in chosen]


def prepare_again(folder, out, change):
    """The same features and labels with `change` made to every list of annotations."""
    out.mkdir()
    for name in ("annotations.json", "clips.json"):
        database = json.loads((folder / name).read_text())["database"]
        for entry in database.values():
            entry["annotations"] = [b for a in entry["annotations"] for b in change(a, entry["duration"])]
        (out / name).write_text(json.dumps({"database": database}))
    prepare(
        Options(
            annotations=str(out / "annotations.json"), features={s: str(folder / s) for s in WIDTHS},
            clips=str(out / "clips.json"), clip_features={s: str(folder / f"{s}_clips") for s in WIDTHS},
            stride=str(STRIDE), out=str(out / "data"), dtype="float32", workers=1, accept=("segments", "no_segments"),
        )
    )  # fmt: skip
    return out / "data"


def segments_of(data):
    split = open_split(data, "training")
    return [split[i].segments.tolist() for i in range(len(split))]


@pytest.mark.parametrize("kind", ["noise", "labels only"])
def test_segments_change_no_bit_of_training_tuning_and_detection(folder, trained, expected, tmp_path, kind):
    rng = np.random.default_rng(0)
    changes = {
        "noise": lambda a, duration: scrambled(a, duration, rng),
        "labels only": lambda a, duration: [{"label": a["label"]}],
    }
    data = prepare_again(folder, tmp_path / "set", changes[kind])
    before, after = segments_of(folder / "data"), segments_of(data)
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert any(after) == (kind == "noise")
    plain, other = (open_split(d, "training").metadata for d in (folder / "data", data))
    assert plain.segment_seconds != other.segment_seconds
    assert plain.segments_per_recording != other.segments_per_recording
    assert plain.fingerprint != other.fingerprint

    workdir = run(data, tmp_path / "run")
    for stage in STAGES:
        same_params(workdir, trained, stage)
        assert learned(workdir, stage) == learned(trained, stage)
    file = "trimmed/clip_features.parquet"
    one, other = knowledge.read(workdir / file), knowledge.read(trained / file)
    assert list(one) == list(other)
    assert all(np.array_equal(one[id], other[id]) for id in one)
    assert path_of(workdir, "mgfn").read_bytes() == path_of(trained, "mgfn").read_bytes()
    found = detect(workdir, "validation")
    assert (found.recordings, found.labels) == (expected.recordings, expected.labels)
    assert len(found.table)
    for column in ("recording", "label", "segments", "score"):
        np.testing.assert_array_equal(getattr(found.table, column), getattr(expected.table, column), strict=True)


def test_the_run_above_is_one_that_could_notice(trained, expected):
    """Both stages learned something, transfer and boundaries among it; tuning chose; detections are where they may."""
    for stage in STAGES:
        losses = [row["loss"] for row in learned(trained, stage) if "loss" in row]
        assert len(losses) == STEPS
        assert np.isfinite(losses).all()
    last = [row for row in learned(trained, "mgfn") if "loss" in row][-1]
    assert {"classes1", "classes2", "mmd", "oic"} <= set(last)
    assert last["oic"] > 0
    assert "label_mAP" in learned(trained, "mgfn")[-1]
    tuned = json.loads(path_of(trained, "mgfn").read_text())
    assert tuned["score"] > tuned["config_score"] > 0
    split, table = open_split(trained.parent / "data", "validation"), expected.table
    assert expected.recordings == tuple(split.ids)
    assert (table.segments[:, 0] >= 0).all()
    assert (table.segments[:, 0] < table.segments[:, 1]).all()
    assert (table.segments[:, 1] <= split.durations[table.recording]).all()


# Knowledge


def test_knowledge_is_the_pooled_features_of_every_clip_by_the_trained_branch(folder, trained):
    found = knowledge.read(trained / "trimmed" / "clip_features.parquet")
    clips, params = open_split(folder / "data", "clips"), restore_params(trained, "trimmed")["params"]
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    assert list(found) == clips.ids.tolist()  # held out or not
    for i, id in enumerate(clips.ids):
        features = np.concatenate([clips[i].features[s] for s in clips.metadata.streams], axis=1).astype(float)
        labels = np.isin(np.arange(len(clips.metadata.labels)), clips[i].present)
        output = weak.mgfn(params, features, labels, dilations=(1, 2), threshold=0.5)
        pooled = np.concatenate([output["pooled1"], output["pooled2"]])[:, 0]  # GAP: the same for all classes
        assert found[id].shape == (2 * 2 * 8,)
        np.testing.assert_allclose(found[id], pooled.ravel(), rtol=1e-3, atol=1e-5)


def knowing(data, file):
    config = tiny(data)
    config.stages.mgfn.clip_features = str(file)
    return config.to_dict()


def one_line(message, config, workdir):
    with pytest.raises(InputError, match=message) as error:
        train_and_evaluate(config, workdir)
    assert "\n" not in str(error.value)


def test_knowledge_that_does_not_fit_is_refused(folder, trained, tmp_path):
    rows = knowledge.read(trained / "trimmed" / "clip_features.parquet")
    file = tmp_path / "k.parquet"
    one_line(f"{file}: cannot be read", knowing(folder / "data", file), tmp_path / "run")
    knowledge.write(file, ((id, row[:-1]) for id, row in rows.items()))
    one_line("clip features: 31 numbers .* 4 branches of 8", knowing(folder / "data", file), tmp_path / "run")
    knowledge.write(file, (("of another set", row) for row in itertools.islice(rows.values(), 1)))
    one_line("no clip to draw from", knowing(folder / "data", file), tmp_path / "run")


# Going on


def test_an_interrupted_stage_with_knowledge_from_elsewhere_ends_like_a_whole_track(
    folder, trained, tmp_path, monkeypatch, capsys
):
    at_step(5, monkeypatch)  # one step after the checkpoint of step 4
    knowledge.write(tmp_path / "k", knowledge.read(trained / "trimmed" / "clip_features.parquet").items())
    config, workdir = knowing(folder / "data", tmp_path / "k"), tmp_path / "run"
    config["checkpoint"]["every_steps"] = 4
    with pytest.raises(Killed):
        train_and_evaluate(config, workdir)
    assert not (workdir / "mgfn" / "finished.json").exists()
    train_and_evaluate(config, workdir)
    printed = capsys.readouterr().out
    assert "going on from step 4" in printed
    assert printed.count("stage trimmed: not needed") == 2
    assert not (workdir / "trimmed" / "checkpoints").exists()
    same_params(workdir, trained, "mgfn")
    by_step = {row["step"]: row for row in learned(workdir, "mgfn") if "loss" in row}
    assert list(by_step.values()) == [row for row in learned(trained, "mgfn") if "loss" in row]


def stored_without(workdir, *keys):
    """Every stage's stored config loses some keys of its section `data`, as if they had not existed then."""
    for stage in STAGES:
        path = workdir / stage / "config.json"
        config = json.loads(path.read_text())
        for key in keys:
            del config["stages"][stage]["data"][key]
        path.write_text(json.dumps(config))


def test_a_workdir_from_before_a_key_goes_on_where_the_key_is_neutral(folder, trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    config = tiny(folder / "data")
    assert config.stages.mgfn.data.proposals == 0
    assert config.stages.mgfn.data.shift > 0
    stored_without(tmp_path / "run", "proposals", "train_proposals")
    train_and_evaluate(config.to_dict(), tmp_path / "run")
    assert capsys.readouterr().out.count("finished, nothing to do") == 2
    stored_without(tmp_path / "run", "shift")
    one_line(r"belongs to another config \(stages.*data.shift 0.0 -> 0.3\)", config.to_dict(), tmp_path / "run")
    with config.unlocked():
        for stage in STAGES:
            del config.stages[stage].data["shift"], config.stages[stage].data["train_proposals"]
    train_and_evaluate(config.to_dict(), tmp_path / "run")  # neither has them now


# Rows and fusion


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A set without clips."""
    folder = tmp_path_factory.mktemp("bare")
    prepare_clip_set(folder, clips=False)
    return folder / "data"


@pytest.mark.parametrize("row", ["cas", "mdcm", "ccm"])
def test_rows_without_transfer_need_no_clips(bare, tmp_path, row):
    train_and_evaluate(tiny(bare, row, steps=2).to_dict(), tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["mgfn"]
    cascade = restore_params(tmp_path, "mgfn")["params"]["cascade"]
    assert set(cascade) == ({"stage1", "stage2"} if row == "ccm" else {"stage1"})
    assert ("branch2" in cascade["stage1"]) == (row != "cas")
    assert learned(tmp_path, "mgfn")[-1]["label_mAP"] > 0


@pytest.mark.parametrize("row", ["ktm", "full"])
def test_transfer_needs_clips(bare, tmp_path, row):
    one_line("--clips", tiny(bare, row).to_dict(), tmp_path)


def test_a_row_with_transfer_detects_in_a_set_without_clips(trained, expected, bare):
    found = detect(trained, "validation", data_dir=str(bare))
    assert found.recordings == expected.recordings
    assert len(found.table) == len(expected.table)
    np.testing.assert_array_equal(found.table.segments, expected.table.segments)


def test_late_fusion_of_two_streams(bare, tmp_path):
    config = tiny(bare, "cas", steps=2)
    config.stages.mgfn.fusion = "late"
    train_and_evaluate(config.to_dict(), tmp_path)
    params = restore_params(tmp_path, "mgfn")["params"]
    widths = [params[f"stream{i}"]["stage1"]["base1"]["kernel"].shape[1] for i in (1, 2)]
    assert widths == list(WIDTHS.values())
    assert len(detect(tmp_path, "validation").table)
