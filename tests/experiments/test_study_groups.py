"""Scores by group: a group's are those of a set that holds its recordings alone."""

import dataclasses

import numpy as np
import pytest
from pyarrow import csv
from support.study_outcomes import LABELS, RECORDINGS, outcome

from tal_jax.evaluation.detection import HIGH_TIOU, LOW_TIOU, evaluate_detections
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.experiments import study_files, study_groups
from tal_jax.experiments.study_summary import summarize
from tal_jax.plots.detections import save

PEOPLE = np.array([f"p{i % 4}" for i in range(RECORDINGS)])


OTHERS = np.array([f"q{i}" for i in range(RECORDINGS)])  # one recording each
FOLDS = {"x": PEOPLE, "yy": OTHERS}


@pytest.fixture(scope="module")
def outcomes():
    return [
        outcome(row, seed, blur, fold, groups=groups)
        for row, blur in {"base": 1.0, "sharp": 0.5}.items()
        for fold, groups in FOLDS.items()
        for seed in (0, 1)
    ]


def of_group(table, groups, group):
    rows = [i for i, r in enumerate(table.recording) if groups[r] == group]
    return SegmentTable(*(np.array([column[i] for i in rows]) for column in vars(table).values()))


def test_scores_are_those_of_a_set_of_that_group_alone(outcomes):
    lines = study_groups.by_group(outcomes).to_pylist()
    assert len(lines) == 2 * 2 * (4 + RECORDINGS)
    for line in lines:
        (o,) = [o for o in outcomes if (o.row, o.fold, o.seed) == (line["row"], line["fold"], line["seed"])]
        groups = FOLDS[o.fold]
        truth, found = of_group(o.truth, groups, line["group"]), of_group(o.found, groups, line["group"])
        assert line["recordings"] == (RECORDINGS // 4 if o.fold == "x" else 1)
        assert line["average_mAP"] == evaluate_detections(truth, found, LABELS, HIGH_TIOU).average
        assert line["low_mAP"] == evaluate_detections(truth, found, LABELS, LOW_TIOU).average


def test_recordings_of_nobody_in_particular_make_no_table(outcomes):
    alone = [dataclasses.replace(o, groups=np.arange(RECORDINGS)) for o in outcomes]
    assert len(study_groups.by_group(alone)) == 0
    assert len(study_groups.by_group([dataclasses.replace(o, values={"AUC": 0.5}) for o in outcomes])) == 0


def test_a_person_without_annotations_is_left_out(outcomes):
    o = outcomes[0]
    bare = dataclasses.replace(o, truth=o.truth.take(PEOPLE[o.truth.recording] != "p2"))
    assert [line["group"] for line in study_groups.by_group([bare]).to_pylist()] == ["p0", "p1", "p3"]


def test_files_come_and_go_with_the_groups(outcomes, tmp_path):
    def write(outcomes):
        lines = summarize(outcomes, "base", resamples=2)
        names = study_files.write(tmp_path, outcomes, lines, title="title", baseline="base")
        assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
        return names

    assert {"groups.csv", "groups.png"} <= set(write(outcomes))
    assert csv.read_csv(tmp_path / "groups.csv").num_rows == 2 * 2 * (4 + RECORDINGS)
    assert (tmp_path / "groups.png").read_bytes()[:4] == b"\x89PNG"
    names = write([dataclasses.replace(o, groups=np.arange(RECORDINGS)) for o in outcomes])
    assert not {"groups.csv", "groups.png"} & set(names)


def test_the_picture_shows_the_mean_over_seeds(outcomes):
    """And nothing where a row was not measured on a group."""
    lines = study_groups.by_group([o for o in outcomes if o.fold == "x" or o.row == "base"])
    axes = study_groups.draw(lines, "title").axes[0]
    expected = []
    for group in sorted([*np.unique(PEOPLE), *OTHERS])[: study_groups.MOST]:
        for row in ("base", "sharp"):
            own = [x["average_mAP"] for x in lines.to_pylist() if (x["group"], x["row"]) == (group, row)]
            expected += [f"{100 * np.mean(own):.1f}"] if own else []
    assert [t.get_text() for t in axes.texts] == expected
    assert axes.get_xlabel() == ""


def test_the_picture_says_how_many_groups_it_leaves_out(outcomes, tmp_path):
    """Whatever they are called: no name is taken for mathematics."""
    names = np.array([f"$\\frac${i:02d}\n" for i in range(RECORDINGS)])
    many = [dataclasses.replace(o, groups=names, fold=fold) for o in outcomes[:1] for fold in ("x", "yy")]
    many[1] = dataclasses.replace(many[1], groups=np.char.add("z", names))
    scores = study_groups.by_group([*many, outcomes[0]])
    figure = study_groups.draw(scores, "title")
    axes = figure.axes[0]
    assert axes.get_xlabel() == f"first {study_groups.MOST} of {2 * RECORDINGS + 4} groups"
    assert axes.get_yticklabels()[0].get_text() == r"$\frac$00?"
    save(figure, tmp_path / "groups.png")
