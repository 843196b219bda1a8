"""The time lines of a report: their colours are those of the pictures."""

import pytest
from support.report_files import write_files

from tal_jax.data import annotations
from tal_jax.evaluation import detection_files
from tal_jax.evaluation.detection import parse_tiou
from tal_jax.plots.colours import label_colours
from tal_jax.report import analyse, timeline
from tal_jax.report.browser import browser


@pytest.mark.parametrize("classes", [3, 30])
def test_a_class_has_the_colour_that_it_has_in_pictures(tmp_path, classes):
    truth, found = write_files(tmp_path, classes=classes, hostile=True)
    recordings = annotations.read(truth)
    run = analyse("first", recordings, detection_files.read(found), "validation", parse_tiou("0.5:0.95:0.05"))
    content = browser([run], recordings, [], shown=10)
    known = {label for recording in recordings.values() for label in recording.labels}
    expected = label_colours(known, content["labels"])
    seen = set()
    for i in range(len(content["ids"])):
        scale = timeline.filled(timeline.template(), content, i)["layer"][0]["encoding"]["color"]["scale"]
        assert scale["range"] == [expected[name] for name in scale["domain"]]
        seen |= {*scale["domain"]}
    assert len({expected[name] for name in seen}) == len(seen) > min(classes, 10)
