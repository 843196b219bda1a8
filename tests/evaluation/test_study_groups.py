"""Scores by group: a group's are those of a set that holds its recordings alone."""

import dataclasses

import numpy as np
import pytest
from pyarrow import csv
from study_outcomes import LABELS, RECORDINGS, outcome

from tal_jax.evaluation import study_files, study_groups
from tal_jax.evaluation.detection import HIGH_TIOU, LOW_TIOU, evaluate_detections
from tal_jax.evaluation.pairs import SegmentTable
from tal_jax.evaluation.study_summary import summarize

PEOPLE = np.array([f"p{i % 4}" for i in range(RECORDINGS)])


@pytest.fixture(scope="module")
def outcomes():
    return [
        outcome(row, seed, blur, groups=PEOPLE) for row, blur in {"base": 1.0, "sharp": 0.5}.items() for seed in (0, 1)
    ]


def of_person(table, person):
    rows = [i for i, r in enumerate(table.recording) if PEOPLE[r] == person]
    return SegmentTable(*(np.array([column[i] for i in rows]) for column in vars(table).values()))


def test_scores_are_those_of_a_set_of_that_group_alone(outcomes):
    lines = study_groups.by_group(outcomes).to_pylist()
    assert len(lines) == 2 * 2 * 4
    for line in lines:
        (o,) = [o for o in outcomes if (o.row, o.seed) == (line["row"], line["seed"])]
        truth, found = of_person(o.truth, line["group"]), of_person(o.found, line["group"])
        assert (line["fold"], line["recordings"]) == ("all", RECORDINGS // 4)
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
    assert csv.read_csv(tmp_path / "groups.csv").num_rows == 16
    assert (tmp_path / "groups.png").read_bytes()[:4] == b"\x89PNG"
    names = write([dataclasses.replace(o, groups=np.arange(RECORDINGS)) for o in outcomes])
    assert not {"groups.csv", "groups.png"} & set(names)


def test_the_picture_shows_the_mean_over_seeds(outcomes):
    scores = study_groups.by_group(outcomes)
    axes = study_groups.draw(scores, "title").axes[0]
    lines = scores.to_pylist()
    texts = [t.get_text() for t in axes.texts]
    expected = [
        np.mean([x["average_mAP"] for x in lines if (x["group"], x["row"]) == (group, row)])
        for group in ("p0", "p1", "p2", "p3")
        for row in ("base", "sharp")
    ]
    assert texts == [f"{100 * value:.1f}" for value in expected]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["p0", "p1", "p2", "p3"]
