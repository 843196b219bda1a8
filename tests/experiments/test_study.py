"""Studies: which trainings there are, that first stages are shared, that held-out people stay out, and going on."""

import dataclasses
import json

import numpy as np
import pytest
from support.commands import run
from support.sensor_set import prepare_set

from tal_jax import bundled
from tal_jax.data.dataset import open_split, read_metadata
from tal_jax.detect.detect import detect
from tal_jax.errors import InputError
from tal_jax.evaluation.detection import HIGH_TIOU, evaluate_detections
from tal_jax.experiments.study import Study, digest, load, runs
from tal_jax.experiments.study_run import carry_out
from tal_jax.experiments.study_training import outcomes
from tal_jax.stages.predictor import truth_table
from tal_jax.stages.stage import build_stage

pytestmark = pytest.mark.slow

CONFIG = """
from support.sensor_set import tiny_config
def get_config(variant="two"):
    if variant not in ("one", "two"):
        raise ValueError(f"no variant {variant}")
    config = tiny_config("", refinements=1)
    config.stages.bmn.steps = config.stages.tcanet.steps = 2
    config.stages.tcanet.options.class_weight = 1.0 if variant == "one" else 2.0
    return config
"""
HELD = ("r00", "r01")
ROWS = {"base": {}, "wide": {"stages.tcanet.options.jitter": 0.3}, "bmn": {"track": ("bmn",)}}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture(scope="module")
def carried_out(config, data, tmp_path_factory):
    """A study with a fold, and the table it printed."""
    workdir = tmp_path_factory.mktemp("study")
    study = Study(config, ROWS, seeds=(0,), folds={"first": ("r0[01]",)})
    return study, workdir, carry_out(study, str(data), workdir, title="tiny", resamples=20)


@pytest.mark.parametrize(
    ("config", "variant", "expected"),
    [("weak_watch", "full", "adcba1248f"), ("supervised_hacs", "classifier", "4e783877b8")],
)
def test_digests_outlive_the_names_of_keys(config, variant, expected):
    """Trainings of a study that were begun when keys had other names are found again."""
    path = bundled.locate("configs", config)
    assert digest(bundled.call_get_config("test", path, variant).to_dict(), "f") == expected


def test_every_row_with_every_seed_on_every_fold(config):
    study = Study(config, ROWS | {"one": {"variant": "one"}}, seeds=(3, 5), folds={"a": ("r0*",), "b": ("r1*", "r2*")})
    plan = list(runs(study, "DATA", "f"))
    assert [(r.row, r.fold, r.seeds) for r in plan[:4]] == [
        ("base", "a", (3,)), ("base", "a", (5,)), ("base", "b", (3,)), ("base", "b", (5,))
    ]  # fmt: skip
    assert len(plan) == 4 * 2 * 2 == len({r.folder for r in plan}) == len({r.digest for r in plan})
    for r in plan:
        assert (r.config["seed"], r.config["data"]["dir"]) == (r.seeds[0], "DATA")
        assert r.config["data"]["holdout_ids"] == study.folds[r.fold]
        assert r.config["stages"]["tcanet"]["options"]["jitter"] == (0.3 if r.row == "wide" else 0.1)
        assert r.config["stages"]["tcanet"]["options"]["class_weight"] == (1.0 if r.row == "one" else 2.0)
    assert [r.digest for r in runs(study, "elsewhere", "f")] == [r.digest for r in plan]
    assert not {r.digest for r in runs(study, "DATA", "another")} & {r.digest for r in plan}


def test_rows_share_their_first_stage_and_nothing_else(carried_out):
    _, workdir, _ = carried_out
    assert len(list((workdir / "shared").iterdir())) == 1
    proposals = {
        json.loads((workdir / "runs" / row / "first" / "seed0" / "config.json").read_text())["stages"]["tcanet"][
            "proposals"
        ]
        for row in ("base", "wide")
    }
    assert len(proposals) == 1
    assert not (workdir / "runs/base/first/seed0/bmn/checkpoints").exists()


def test_held_out_recordings_are_measured_and_not_learned_from(carried_out, data):
    _, workdir, _ = carried_out
    split = open_split(data, "training")
    shared = next((workdir / "shared").iterdir())
    for name, folder in (("tcanet", workdir / "runs/base/first/seed0"), ("bmn", shared)):
        stage = build_stage(json.loads((folder / "config.json").read_text()), name, folder)
        learned = {str(split.ids[i]) for i in stage.recordings.train_index}
        assert {str(split.ids[i]) for i in stage.recordings.eval_index} == set(HELD)
        assert learned == {str(i) for i in split.ids} - set(HELD)


def test_scores_are_those_of_the_trained_stage(carried_out, data):
    study, workdir, text = carried_out
    split = open_split(data, "training")
    index = np.flatnonzero(np.isin(split.ids, HELD))
    plan = {r.row: r for r in runs(study, str(data), split.metadata.fingerprint)}
    for row in ("base", "wide"):
        (found,) = outcomes(plan[row], workdir)
        table = detect(workdir / "runs" / row / "first" / "seed0", "training").table
        table = table.take(np.isin(table.recording, index))
        expected = evaluate_detections(truth_table(split, index), table, split.metadata.labels, HIGH_TIOU).average
        np.testing.assert_allclose(found.values["average_mAP"], expected, atol=1e-6)
        assert f"| {row} | {100 * expected:.1f} |" in text
        assert found.values["parameters"] > 100
        assert found.values["seconds"] > 0
    (proposals,) = outcomes(plan["bmn"], workdir)
    assert "average_mAP" not in proposals.values
    assert proposals.values["AR@100"] > 0


def test_what_is_finished_is_not_repeated_and_an_interrupted_one_goes_on(carried_out, data):
    study, workdir, text = carried_out
    (workdir / "runs/wide/first/seed0/result.json").unlink()  # killed before it was measured
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("finished.json")}
    assert carry_out(study, str(data), workdir, title="tiny", resamples=20) == text
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("finished.json")} == before
    assert len(before) == 4


def test_other_settings_under_the_same_name_are_refused(carried_out, data):
    study, workdir, _ = carried_out
    other = dataclasses.replace(study, rows={"base": {"stages.tcanet.options.jitter": 0.2}})
    with pytest.raises(InputError, match="seed0: holds row base with other settings or of another data set"):
        carry_out(other, str(data), workdir, title="", resamples=1)


def test_a_population_is_an_outcome_for_each_seed_on_the_evaluation_split(config, data, tmp_path):
    study = Study(config, {"base": {"track": ("bmn",)}}, seeds=(1, 2, 3, 4), population=True)
    text = carry_out(study, str(data), tmp_path, title="tiny", resamples=2)
    assert "4 trainings" in text
    (plan,) = runs(study, str(data), open_split(data, "validation").metadata.fingerprint)
    found = outcomes(plan, tmp_path)
    assert [o.seed for o in found] == [1, 2, 3, 4]
    assert len({o.values["AUC"] for o in found}) > 1
    assert len(found[0].recordings) == len(open_split(data, "validation"))
    scores = json.loads((tmp_path / "runs/base/all/seed1/bmn/population.json").read_text())
    member = next(m for m in scores["members"] if m["seed"] == 3)
    np.testing.assert_allclose(found[2].values["AUC"], member["AUC"], atol=1e-6)


def write(folder, text):
    path = folder / "file.py"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}}, "rows: there are none"),
        ({"rows": {"a": None}}, "rows are dictionaries of dictionaries"),
        ({"seeds": ()}, "seeds: there are none"),
        ({"seeds": 3}, "seeds whole numbers"),
        ({"seeds": (0, 0)}, r"seeds \(0, 0\): each once, from 0"),
        ({"seeds": (-1,)}, r"seeds \(-1,\): each once, from 0"),
        ({"rows": {"../up": {}}}, r"'../up': names are of letters"),
        ({"baseline": "best"}, "baseline 'best': the rows are base, wide, bmn"),
        ({"folds": {"x": ()}}, "fold x: patterns of ids are expected"),
        ({"folds": {"x": "s01_*"}}, "fold x: patterns of ids are expected"),
        ({"groups": "s("}, r"groups 's\(': no regular expression"),
        ({"groups": 3}, "groups 3: no regular expression"),
        ({"groups": "a{99999999999}"}, "groups .*: no regular expression"),
        ({"rows": {"a": {"seed": 3}}}, "row a: seed is not for rows"),
        ({"rows": {"a": {"data.eval_split": "training"}}}, "row a: data.eval_split is not for rows"),
        ({"seeds": (0, 2), "population": True}, r"seeds \(0, 2\): those of a population follow each other"),
        ({"population": True}, "row base: a population trains one stage, not bmn, tcanet"),
        ({"rows": {"a": {"stages.tcanet.model.stagez": 1}}}, "row a of .*stagez: no such key: .*model.stages'"),
        ({"rows": {"a": {"zzz": 1}}}, "row a of .*: zzz: no such key$"),
        ({"rows": {"a": {"stages.bmn.steps": "many"}}}, "row a of .*steps"),
        ({"rows": {"a": {"variant": "three"}}}, "row a of .*no variant three"),
        ({"config": "nowhere.py"}, "nowhere.py: no such file"),
    ],
)
def test_bad_studies_are_refused(config, changes, message):
    with pytest.raises(InputError, match=message):
        list(runs(Study(**({"config": config, "rows": ROWS} | changes)), "DATA", "f"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no 'get_config': a config file defines get_config"),
        ("def get_config(:", "SyntaxError"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def get_config(): raise RuntimeError('why')", "RuntimeError: why"),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("def get_config(): return 5", "no study: let get_config"),
    ],
)
def test_files_that_fail_end_in_one_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as refused:
        load(path)
    assert "\n" not in str(refused.value)
    if "return" not in text:
        with pytest.raises(InputError, match=message):
            list(runs(Study(path, ROWS), "DATA", "f"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages.tcanet.options.fuse": "first"}, r"row last: .*fuse is 'last'"),
        ({"stages.tcanet.optimizer.schedule": "wild"}, "row last: .*schedule"),
        ({"track": ("bmn", "classifier")}, "row last: .*classifier"),
    ],
)
def test_a_bad_last_row_is_found_before_the_first_training(config, data, tmp_path, changes, message):
    study = Study(config, {"base": {}, "last": changes}, folds={"x": HELD})
    with pytest.raises(InputError, match=message):
        carry_out(study, str(data), tmp_path / "w", title="", resamples=1)
    assert not (tmp_path / "w").exists()


DAMAGES = [
    ("result.json", b"{"), ("result.json", b"[]"), ("result.json", b"\xff"), ("result.json", bytes(9)),
    ("found_seed0.npz", b"PK"), ("found_seed0.npz", None),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content"), DAMAGES)
def test_damaged_results_say_what_to_do(carried_out, data, file, content):
    study, workdir, text = carried_out
    path = workdir / "runs/wide/first/seed0" / file
    before = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    try:
        with pytest.raises(InputError, match=rf"{file}: missing or damaged: remove .*result.json and start again"):
            carry_out(study, str(data), workdir, title="tiny", resamples=20)
    finally:
        path.write_bytes(before)
    assert carry_out(study, str(data), workdir, title="tiny", resamples=20) == text


def test_recordings_of_a_person_are_drawn_together(carried_out, data):
    """Nothing is trained again for that."""
    study, workdir, _ = carried_out
    written = {path: path.stat().st_mtime_ns for path in workdir.rglob("finished.json")}
    people = dataclasses.replace(study, groups=r"\d$")
    plan = list(runs(people, str(data), read_metadata(data).fingerprint))
    assert [o.groups.tolist() for r in plan for o in outcomes(r, workdir)] == [["0", "1"]] * len(plan)
    carry_out(people, str(data), workdir, title="tiny", resamples=20)
    assert written == {path: path.stat().st_mtime_ns for path in workdir.rglob("finished.json")}


@pytest.mark.parametrize(
    ("groups", "folds", "message"),
    [
        (
            "r.",
            {"x": ("r0[01]",)},
            "row base: .*fold x is measured on group r0 alone, .*other groups, other folds",
        ),
        ("s", {"x": ("r0[01]",)}, "row base: groups 's': not found in id 'r00' of"),
        ("", {"x": ("r00",)}, "row base: .*fold x is measured on 1 recording, .*choose other folds"),
        (".$", {"x": ("r0[01]",), "yy": ("r0[12]",)}, "group 1 is in folds x and yy: hold it out in one"),
    ],
)
def test_what_has_no_spread_of_its_own_is_refused(config, data, tmp_path, groups, folds, message):
    study = Study(config, ROWS, folds=folds, groups=groups)
    with pytest.raises(InputError, match=message):
        carry_out(study, str(data), tmp_path / "w", title="", resamples=1)
    assert not (tmp_path / "w").exists()


def test_another_data_set_is_refused(carried_out, tmp_path):
    study, workdir, _ = carried_out
    prepare_set(tmp_path, seed=1)
    with pytest.raises(InputError, match="holds row base with other settings or of another data set"):
        carry_out(study, str(tmp_path / "data"), workdir, title="", resamples=1)


def test_a_trained_fold_detects_in_another_set(carried_out, tmp_path):
    """Patterns of what was held out say nothing about other recordings."""
    _, workdir, _ = carried_out
    prepare_set(tmp_path, seed=1)
    shared = next((workdir / "shared").iterdir())
    found = detect(shared, "validation", data_dir=str(tmp_path / "data"))
    assert len(found.recordings) == 4


def test_narrowing_keeps_the_baseline(config):
    study = Study(config, ROWS)
    assert list(study.narrowed(["wide"], [7]).rows) == ["base", "wide"]
    assert study.narrowed([], [7]).seeds == (7,)
    assert study.narrowed([], []) == study
    with pytest.raises(InputError, match="no row 'x': the rows are base, wide, bmn"):
        study.narrowed(["x"], [])


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("s99_*",), r"'s99_\*' matches none of the 8 recordings of split training in .*first: 'r00'"),
        (("*",), "all 8 re"),
    ],
)
def test_patterns_that_hold_out_nothing_or_everything_are_refused(config, data, tmp_path, patterns, message):
    study = Study(config, ROWS, folds={"x": patterns})
    with pytest.raises(InputError, match=message):
        carry_out(study, str(data), tmp_path, title="", resamples=1)


def test_the_studies_of_the_project_are_studies():
    from pathlib import Path

    paths = [p for p in (Path(__file__).parents[2] / "studies").glob("*.py") if p.name != "__init__.py"]
    assert paths
    for path in paths:
        study = load(str(path))
        assert len(list(runs(study, "DATA", "f"))) >= len(study.rows)


def test_the_command(carried_out, data, tmp_path):
    """Rows of a finished study alone: nothing is trained, and the whole study's tables stay."""
    study, workdir, _ = carried_out
    before = (workdir / "summary.md").read_text()
    path = write(tmp_path, f"from tal_jax.experiments.study import Study\ndef get_config(): return {study!r}\n")
    ended = run("study", f"--config={path}", f"--data={data}", f"--workdir={workdir}", "--rows=bmn", "--resamples=2")
    assert ended.returncode == 0, ended.stderr
    assert (workdir / "partial_summary.md").read_text() in ended.stdout
    assert "| wide |" not in ended.stdout
    assert (workdir / "summary.md").read_text() == before
    ended = run("study", f"--config={path}", f"--data={data}", f"--workdir={workdir}", "--seeds=a")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
