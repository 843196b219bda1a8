"""Detections files whose times are fractions, as BMN's own are."""

import json

import pytest

from tal_jax.data.annotations import Instance, Recording, layout
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files, time_units
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.ground_truth import select
from tal_jax.evaluation.server_check import Rules, check
from tal_jax.experiments.pseudo_labels import pseudo_labels
from tal_jax.report.analysis import analyse

RECORDINGS = {
    "a": Recording("a", "validation", 120.0, (Instance(30, 60, "run"),)),
    "b": Recording("b", "validation", 200.0, (Instance(20, 40, "run"),)),
}
RESULTS = {
    "a": [{"label": "run", "score": 0.9, "segment": [0.25, 0.5]}],
    "b": [{"label": "run", "score": 0.8, "segment": [0.1, 0.2]}, {"label": "run", "score": 0.1, "segment": [0.0, 1.0]}],
    "elsewhere": [{"label": "run", "score": 0.05, "segment": [0.0, 1.0]}],
}


@pytest.fixture
def files(tmp_path):
    truth, found = tmp_path / "a.json", tmp_path / "d.json"
    truth.write_text(json.dumps(layout(RECORDINGS.values(), "1")))
    found.write_text(json.dumps({"results": RESULTS}))
    return truth, found


def uses(found):
    """Everything that holds detections against annotations."""
    return (
        lambda: select(RECORDINGS, found, "val"),
        lambda: analyse("d", RECORDINGS, found, "val", [0.5]),
        lambda: pseudo_labels(RECORDINGS, found, "val", threshold=0.5, overlap=0.2, exclusive=True),
        lambda: check(found, RECORDINGS, "val", Rules()),
    )


def test_fractions_are_refused_wherever_detections_meet_annotations(files):
    """Not an mAP of 0, nor pseudo labels in the first second, in silence."""
    found = detection_files.read(files[1])
    for use in uses(found):
        with pytest.raises(InputError, match=r"these are fractions of the recordings.*--units=fractions") as error:
            use()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", [25, 1000])
def test_images_and_milliseconds_are_refused_wherever_detections_meet_annotations(files, scale):
    rows = [{"label": "run", "score": 0.9, "segment": [30.0 * scale, 60.0 * scale]}] * 5
    files[1].write_text(json.dumps({"results": {"a": rows, "b": [], "elsewhere": rows}}))
    found = detection_files.read(files[1])
    for use in uses(found):
        with pytest.raises(InputError, match=r"5 of 5 segments lie beyond .* 120 s: are times in images.*--units=sec"):
            use()
    assert len(select(RECORDINGS, found, "val", units="seconds").detections) == 10
    without = {**RECORDINGS, "a": Recording("a", "validation", None, (Instance(30, 60, "run"),))}
    assert len(select(without, found, "val").detections) == 10  # nobody knows how long it is


def test_the_unit_that_is_said_is_honoured(files):
    found = detection_files.read(files[1])
    chosen = select(RECORDINGS, found, "val", units="fractions")
    assert chosen.detections.segments.tolist() == [[30, 60], [20, 40], [0, 200], [0, 1]]
    result = evaluate_detections(chosen.truth, chosen.detections, chosen.labels, [0.9])
    assert result.average == 1
    chosen = select(RECORDINGS, found, "val", units="seconds")
    assert evaluate_detections(chosen.truth, chosen.detections, chosen.labels, [0.1]).average == 0


def test_a_duration_that_is_needed_and_missing_is_named(files):
    found = detection_files.read(files[1])
    without = {**RECORDINGS, "b": Recording("b", "validation", None, (Instance(20, 40, "run"),))}
    with pytest.raises(InputError, match="'b': its duration is unknown"):
        time_units.in_seconds(found, without, "fractions")
    with pytest.raises(InputError, match="these are fractions"):  # told by the annotated segments
        time_units.in_seconds(found, without)


def test_annotations_in_fractions_as_well_agree(files):
    same = {
        "a": Recording("a", "validation", 120.0, (Instance(0.25, 0.5, "run"),)),
        "b": Recording("b", "validation", 200.0, (Instance(0.1, 0.2, "run"),)),
    }
    chosen = select(same, detection_files.read(files[1]), "val")
    assert evaluate_detections(chosen.truth, chosen.detections, chosen.labels, [0.9]).average == 1
