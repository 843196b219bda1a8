"""The summary of a study: differences are paired, verdicts follow the intervals, and files say what the lines say."""

import dataclasses

import numpy as np
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from support.study_outcomes import LABELS, RECORDINGS, outcome

from tal_jax.errors import InputError
from tal_jax.evaluation.bootstrap import drawn_recordings, interval, resampled_precision
from tal_jax.evaluation.detection import HIGH_TIOU, evaluate_detections
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.experiments import study_files
from tal_jax.experiments.study_summary import Difference, summarize


@pytest.fixture(scope="module")
def outcomes():
    blurs = {"base": 1.0, "same": 1.0, "sharp": 0.6, "blurred": 1.5}
    return [outcome(row, seed, blur, fold) for row, blur in blurs.items() for fold in ("x", "yy") for seed in (0, 1, 2)]


def test_a_row_that_is_the_baseline_under_another_name_differs_by_nothing(outcomes):
    lines = {line.row: line for line in summarize(outcomes, "base", resamples=50)}
    assert lines["same"].differences["average_mAP"] == Difference(0.0, 0.0, 0.0)
    assert lines["base"].differences == {}


def test_verdicts_follow_the_intervals(outcomes):
    lines = {line.row: line for line in summarize(outcomes, "base", resamples=300)}
    for row, verdict in {"same": "unclear", "sharp": "better", "blurred": "worse"}.items():
        for d in lines[row].differences.values():
            assert d.low <= d.value <= d.high
            assert d.verdict == verdict


def test_means_are_over_folds_and_spreads_over_seeds(outcomes):
    line = summarize(outcomes, "base", resamples=2)[0]
    values = np.array(
        [[o.values["average_mAP"] for o in outcomes if (o.row, o.seed) == ("base", seed)] for seed in (0, 1, 2)]
    )
    assert values.shape == (3, 2)
    np.testing.assert_allclose(line.by_seed["average_mAP"], values.mean(1))
    np.testing.assert_allclose(line.mean["average_mAP"], values.mean())
    np.testing.assert_allclose(line.spread["average_mAP"], values.mean(1).std(ddof=1))
    assert line.trainings == 6


def test_what_recordings_have_in_common_cancels(outcomes):
    """The same averages, but each row with draws of its own: unpaired intervals are wider."""
    lines = {line.row: line for line in summarize(outcomes, "base", resamples=300)}
    d = lines["sharp"].differences["average_mAP"]

    def alone(row, seed):
        rng = np.random.default_rng(seed)
        weights = {fold: drawn_recordings(rng, np.arange(RECORDINGS), 300) for fold in ("x", "yy")}
        parts = [
            resampled_precision(o.truth, o.found, 2, HIGH_TIOU, o.recordings, weights[o.fold])
            for o in outcomes
            if o.row == row
        ]
        return np.mean(parts, axis=0)

    unpaired = np.percentile(alone("sharp", 1) - alone("base", 2), [2.5, 97.5])
    assert d.high - d.low < 0.8 * np.diff(unpaired)


def test_people_who_differ_widen_the_interval(outcomes):
    """Half of the people gain from sharper boundaries, half lose: what recordings show, other people need not."""
    people = np.arange(RECORDINGS) // 10
    base, other = ([o for o in outcomes if o.row == row and o.fold == "x"] for row in ("base", "same"))

    def moved(o, by):
        shift = by * np.where(people[o.found.recording] % 2, 1, -1)[:, None]
        found = SegmentTable(o.found.recording, o.found.label, o.truth.segments + [0, 1] * (2 + shift), o.found.score)
        value = evaluate_detections(o.truth, found, LABELS, HIGH_TIOU).average
        return dataclasses.replace(o, found=found, values={"average_mAP": value})

    rows = [*(moved(o, 0.0) for o in base), *(moved(o, 1.0) for o in other)]
    alone = summarize(rows, "base", resamples=400)[1].differences["average_mAP"]
    together = summarize([dataclasses.replace(o, groups=people) for o in rows], "base", resamples=400)[1]
    together = together.differences["average_mAP"]
    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)
    weights = drawn_recordings(np.random.default_rng(0), people, 400)  # the same draws

    def resampled(row):
        own = [o for o in rows if o.row == row]
        return np.mean([resampled_precision(o.truth, o.found, 2, HIGH_TIOU, o.recordings, weights) for o in own], 0)

    of = {row: resampled(row) for row in ("base", "same")}
    values = {row: [o.values["average_mAP"] for o in rows if o.row == row] for row in of}
    by_seed = np.subtract(values["same"], values["base"])
    assert interval(together.value, [of["same"] - of["base"]], [4], by_seed) == (together.low, together.high)


def test_rows_that_were_measured_on_other_recordings_are_refused(outcomes):
    strange = outcome("strange", 5, 1.0, "x")
    with pytest.raises(InputError, match="fold x: rows base and strange were measured on different recordings"):
        summarize([*outcomes, strange], "base", resamples=2)


def test_rows_without_detections_have_no_difference(outcomes):
    proposals = [outcome("proposals", seed, 1.0, fold, AUC=0.5) for fold in ("x", "yy") for seed in (0, 1, 2)]
    lines = {line.row: line for line in summarize([*outcomes, *proposals], "base", resamples=2)}
    assert lines["proposals"].differences == {}
    text = study_files.markdown(list(lines.values()))
    assert text.count("\n") == 2 + 5
    assert "| proposals | - | - | 50.0 |" in text


def test_files_hold_every_training_and_the_summary(outcomes, tmp_path):
    lines = summarize(outcomes, "base", resamples=50)
    names = study_files.write(tmp_path, outcomes, lines, title="title", baseline="base")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    runs = pq.read_table(tmp_path / "runs.parquet").to_pylist()
    assert len(runs) == len(outcomes) == csv.read_csv(tmp_path / "runs.csv").num_rows
    assert {(r["row"], r["fold"], r["seed"]) for r in runs} == {(o.row, o.fold, o.seed) for o in outcomes}
    np.testing.assert_allclose([r["average_mAP"] for r in runs], [o.values["average_mAP"] for o in outcomes])
    summary = csv.read_csv(tmp_path / "summary.csv").to_pylist()
    assert [r["row"] for r in summary] == [line.row for line in lines]
    np.testing.assert_allclose(summary[2]["average_mAP_difference"], lines[2].differences["average_mAP"].value)
    assert summary[2]["average_mAP_is"] == "better"
    assert (tmp_path / "summary.png").read_bytes()[:4] == b"\x89PNG"
    assert "| **+" in (tmp_path / "summary.md").read_text()


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path):
    rows = [outcome(name, seed, 0.5) for name in ("=1+1", "base") for seed in (0, 1)]
    study_files.write(tmp_path, rows, summarize(rows, "base", resamples=2), title="title", baseline="base")
    for name in ("runs.csv", "summary.csv"):
        table = csv.read_csv(tmp_path / name)
        assert set(table["row"].to_pylist()) == {"'=1+1", "base"}
        assert all(isinstance(value, float) for value in table["average_mAP"].to_pylist())
