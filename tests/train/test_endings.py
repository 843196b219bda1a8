"""What a training says before its first step of what it cannot measure, and at its end of what comes next."""

import pytest
from support.sensor_set import prepare_set, tiny_config

from tal_jax.data.dataset import read_metadata
from tal_jax.stages.config import parse
from tal_jax.stages.remembered import seal, write_set
from tal_jax.stages.stage import build_stage
from tal_jax.stages.track import TrackPlan
from tal_jax.train.messages import next_command, outcome, unmeasured


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Sets of two recordings, and of one, for training alone."""
    folder = tmp_path_factory.mktemp("alone")
    for count in (1, 2):
        prepare_set(folder / str(count), training=count, validation=0)
    return folder


def said(data, **changes):
    config = tiny_config(data)
    config.data.update(changes)
    return unmeasured(build_stage(parse(config.to_dict()), "bmn", data / "no workdir"))


def test_what_is_not_measured_is_said_with_what_can_be_done(alone, data):
    assert said(data) == []
    (line,) = said(alone / "2" / "data")
    assert line == (
        f"  not measured: {alone}/2/data has no split 'validation' (it has training): data.holdout=0.2 keeps training "
        "recordings for it"
    )
    assert said(alone / "2" / "data", holdout=0.2) == []


@pytest.mark.parametrize("holdout", [0.0, 0.2])
def test_of_one_recording_none_can_be_kept(alone, holdout):
    (line,) = said(alone / "1" / "data", holdout=holdout)
    assert "data.holdout" not in line
    assert line.endswith("only one recording to learn from, of which none can be kept for it: add some")


def begin(workdir, stage, data):
    (workdir / stage / "checkpoints" / "4").mkdir(parents=True)
    write_set(workdir, stage, read_metadata(data), 24)
    seal(workdir, stage)


def test_the_next_command_detects_where_nothing_was_learned(alone, data, tmp_path):
    for name, folder in (("both", data), ("one", alone / "1" / "data")):
        begin(tmp_path / name, "tcanet", folder)
        begin(tmp_path / name, "bmn", folder)
    config = parse(tiny_config(data).to_dict())

    def after(workdir, stage=""):
        return next_command(config, str(workdir), stage, "tal-jax detect")

    assert after(tmp_path / "both") == f"next: tal-jax detect --workdir={tmp_path}/both --split=validation --out=D.json"
    assert after(tmp_path / "both", "tcanet") == after(tmp_path / "both")
    assert "--stage=bmn --split=validation" in after(tmp_path / "both", "bmn")
    assert after(tmp_path / "one").endswith("--split=training --out=D.json")
    (tmp_path / "one").rename(tmp_path / "two words")
    assert f"--workdir='{tmp_path}/two words' --split=training" in after(tmp_path / "two words")


def test_the_last_lines_are_the_scores_of_every_stage(tmp_path):
    for name, log in (("a", '{"step": 4, "average": 0.5, "AR@100": 0.25, "AUC": 0.5}\n'), ("b", '{"step": 4}\n')):
        (tmp_path / name / "checkpoints" / "4").mkdir(parents=True)
        (tmp_path / name / "metrics.jsonl").write_text(log)
    track = TrackPlan(parse({}), tmp_path, ("a", "b", "elsewhere"), {}, frozenset(), "")
    assert outcome(track).splitlines() == ["stage a: AR@100 25.0  AUC 50.0 (%)", "stage b: trained, not measured"]
