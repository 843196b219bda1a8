"""What a training tells its user: the time left, the result, and which key of the config is at fault."""

import json
import os

import pytest
from support.sensor_set import tiny_config

from tal_jax.data.dataset import read_metadata
from tal_jax.errors import InputError
from tal_jax.stages.config import parse
from tal_jax.stages.lock import locked
from tal_jax.stages.track import TrackPlan
from tal_jax.stages.workdir import check_config, read_config, write_config
from tal_jax.train import progress as progress_file
from tal_jax.train.history import last_scores
from tal_jax.train.messages import outcome
from tal_jax.train.progress import Progress
from tal_jax.train.trainable import plan_training


def test_the_time_left_is_that_of_the_track_too(tmp_path, monkeypatch, capsys):
    now = iter([0.0, 20.0, 30.0, 30.0])
    monkeypatch.setattr(progress_file.time, "monotonic", lambda: next(now))
    progress = Progress(tmp_path / "bmn", name="bmn", total=110, start=0, later=1000)
    progress.log(10, {"loss": 1.0})  # 2 s a step: 100 steps are left, and 1000 later
    progress.log(10, {"average": 0.5, "AR@100": 0.25})
    progress.close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("ms=2000 left=03:20 track=about 36:40")
    assert second == "bmn 10/110 AR@100=0.25"


def test_the_last_scores_are_those_of_the_last_evaluation(tmp_path):
    lines = [
        {"step": 1, "loss": 2.0},
        {"step": 1, "average": 0.1, "AUC": 0.1},
        {"step": 2, "loss": 1.0},
        {"step": 2, "average": 0.3, "AUC": None},
        {"step": 3, "loss": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert last_scores(tmp_path) == {"average": 0.3}
    assert last_scores(tmp_path / "none") == {}


GOOD = b'{"step": 1, "average": 0.25, "AUC": 0.5}\n'


@pytest.mark.parametrize("end", [bytes(4096), b'{"step": 2, "aver', b"\n", b'{"step": 2}', b"[]\n"])
def test_a_log_whose_end_a_crash_has_damaged_is_read(tmp_path, end):
    (tmp_path / "metrics.jsonl").write_bytes(GOOD + end)
    assert last_scores(tmp_path) == {"average": 0.25, "AUC": 0.5}


def test_a_log_that_cannot_be_read_is_said_at_the_end_and_undoes_nothing(tmp_path):
    track = TrackPlan(parse({}), tmp_path, ("a", "b"), {}, frozenset(), "")
    for name, log in (("a", b"\xff\xfe\n" + GOOD), ("b", GOOD)):
        (tmp_path / name / "checkpoints" / "1").mkdir(parents=True)
        (tmp_path / name / "metrics.jsonl").write_bytes(log)
    first, second = outcome(track).splitlines()
    assert first.startswith(f"stage a: trained; {tmp_path}/a/metrics.jsonl: damaged, byte 0 is not UTF-8 text")
    assert second == "stage b: AUC 50.0 (%)"


@pytest.mark.parametrize("damage", [b"\xff\xfe", bytes(9), b'{"step": "2"', b'{"step": [2]}', b"[" * 100_000, b"{}"])
def test_a_training_that_goes_on_drops_what_is_damaged(tmp_path, damage):
    (tmp_path / "metrics.jsonl").write_bytes(GOOD + damage + b'\n{"step": 2}\n{"step": 3}\n')
    Progress(tmp_path, name="a", total=9, start=2).close()
    kept = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kept == [1, 2]


@pytest.mark.parametrize(("stage", "key", "value"), [("tcanet", "heads", 7), ("bmn", "hidden", -8)])
def test_a_value_that_no_model_can_have_is_named_and_leaves_nothing(data, tmp_path, stage, key, value):
    config = tiny_config(str(data), refinements=1, encoders=1)
    config.stages[stage].model[key] = value
    workdir = tmp_path / "new" / "w"
    with pytest.raises(InputError, match=rf"stages\.{stage}\.model\.{key} is {value}, with which"), locked(workdir):
        plan_training(config.to_dict(), workdir)
    assert not workdir.exists()


def test_paths_are_stored_from_the_root_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny_config("runs/data", refinements=1, encoders=1)
    config.stages.tcanet.proposals = "p.parquet"
    config = parse(config.to_dict())
    write_config(config, tmp_path / "w", config.track)
    stored = read_config(tmp_path / "w")
    assert stored.data.dir == str(tmp_path / "runs" / "data")
    assert stored.stages["tcanet"].files["proposals"] == str(tmp_path / "p.parquet")
    # An older workdir keeps them as they were given: it still belongs to the same config.
    (tmp_path / "w" / "tcanet" / "checkpoints" / "1").mkdir(parents=True)
    path = tmp_path / "w" / "tcanet" / "config.json"
    path.write_text(path.read_text().replace(f"{tmp_path}{os.sep}", ""))
    check_config(config, tmp_path / "w", ["tcanet"])


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["a.npy", "b.npy", "note.txt"], r"but 2 files NAME\.npy: if they are features, pack them first, with launch"),
        (["unfinished/manifest.json"], "its preparation has not finished"),
        ([], "it holds no files"),
        (None, "there is none"),
    ],
)
def test_a_folder_that_is_no_set_is_told_by_what_it_holds(tmp_path, files, says):
    for name in files or ():
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).touch()
    if files == []:
        (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match=says):
        read_metadata(tmp_path / "x")
