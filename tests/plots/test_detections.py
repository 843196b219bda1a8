"""The picture: what it shows, and that labels and odd input cannot spoil it."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from tal_jax.data.annotations import Instance, Recording
from tal_jax.errors import InputError
from tal_jax.evaluation import ground_truth as selection
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import segment_table
from tal_jax.plots import detections as figure
from tal_jax.plots.colours import label_colours

ODD = ("$x^{", "_hidden", "a" * 80, r"\frac", "走る")


def scene(rows, duration=50.0, labels=ODD, recordings=8):
    """`recordings` recordings with one segment per label, and rows of (recording, label, (start, end), score)."""
    instances = tuple(Instance(10.0 * k, 10.0 * k + 5, label) for k, label in enumerate(labels))
    truth = {f"v{i}": Recording(f"v{i}", "validation", duration, instances) for i in range(recordings)}
    table = segment_table(*([row[i] for row in rows] for i in range(4)))
    submission = Submission(tuple(truth), (*labels, "other"), table)
    return truth, selection.select(truth, submission, "validation", units="seconds")


detection = st.tuples(
    st.integers(0, 2),
    st.integers(-1, 5),
    st.tuples(st.integers(0, 40), st.integers(0, 9)).map(lambda x: (x[0], x[0] + x[1])),
    st.floats(0, 1, width=16),
)


@hypothesis.given(st.lists(detection, max_size=20), st.sampled_from([0.0, 0.3, 1.0]))
def test_lanes_show_the_best_without_overlaps(rows, min_score):
    truth, chosen = scene(rows)
    for i, strip in enumerate(figure.strips(chosen, truth, 8, min_score)):
        mine = [row for row in rows if row[0] == i and row[2][1] > row[2][0]]
        best = max((row[3] for row in rows if row[0] == i), default=0.0)
        enough = [row for row in mine if row[3] >= min_score * best]
        bars = [bar for lane in strip.lanes for bar in lane]
        assert len(bars) + strip.hidden == len(enough)
        assert len(strip.lanes) <= figure.LANES
        if enough:
            assert strip.lanes[0][0].weight == max(row[3] for row in enough) / (best or 1)
        for lane in strip.lanes:
            spans = sorted((bar.start, bar.end) for bar in lane)
            assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_weaker_detections_move_down_only_where_they_overlap():
    rows = [
        (0, 0, (20, 30), 1.0),
        (0, 0, (30, 40), 0.9),
        (0, 1, (10, 20), 0.8),
        (0, 1, (19, 21), 0.7),
        (0, 2, (5, 9), 0.6),
    ]
    truth, chosen = scene([*rows, *((0, 0, (20, 30), 0.5) for _ in range(3))])
    strip = figure.strips(chosen, truth, 1)[0]
    lanes = [[(bar.start, bar.end) for bar in lane] for lane in strip.lanes]
    assert lanes == [[(20, 30), (30, 40), (10, 20), (5, 9)], [(19, 21)], [(20, 30)]]
    assert strip.hidden == 2


def test_recordings_are_spread_and_do_not_depend_on_the_detections():
    truth, chosen = scene([])
    assert [s.id for s in figure.strips(chosen, truth, 3)] == ["v0", "v4", "v7"]
    truth, chosen = scene([(5, 0, (0, 9), 1.0)])
    assert [s.id for s in figure.strips(chosen, truth, 3)] == ["v0", "v4", "v7"]
    assert len(figure.strips(chosen, truth, 99)) == 8
    for count, score in ((0, 0.3), (1, 1.5), (1, float("nan"))):
        with pytest.raises(InputError, match="--recordings"):
            figure.strips(chosen, truth, count, score)


@pytest.mark.parametrize("duration", [50.0, None])
@pytest.mark.parametrize("labels", [ODD, tuple(f"class {i:02d}" for i in range(25))])
def test_odd_labels_and_many_classes_are_drawn_literally(tmp_path, duration, labels):
    rows = [(i % 8, i % 6, (i, i + 7), i / 40) for i in range(40)] + [(0, -1, (0, 9), 1.0)]
    truth, chosen = scene(rows, duration, labels)
    shown = figure.strips(chosen, truth, 3)
    drawn = figure.draw(shown, chosen.labels, figure.caption(shown, len(chosen.recordings), 0.3))
    path = tmp_path / "f.png"
    figure.save(drawn, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert names[-1] == "without a class"
    if labels is ODD:
        assert names[:-1] == sorted(("$x^{", "_hidden", "a" * 31 + "…", r"\frac", "走る"))
        assert not any(text.get_parse_math() for text in drawn.legends[0].get_texts())
    else:
        assert names[-2] == "and 5 more"


def test_bars_lie_where_the_segments_are():
    truth, chosen = scene([(0, 4, (12, 19), 0.5)], labels=ODD, recordings=1)
    drawn = figure.draw(figure.strips(chosen, truth), chosen.labels, "")
    axes = drawn.axes[0]
    spans = {(p.get_x(), p.get_x() + p.get_width()) for container in axes.containers for p in container}
    assert spans == {(10.0 * k, 10.0 * k + 5) for k in range(5)} | {(12.0, 19.0)}
    assert np.allclose(axes.get_xlim(), (0, 50))


def test_pictures_that_cannot_be_written(tmp_path):
    truth, chosen = scene([])
    drawn = figure.draw(figure.strips(chosen, truth), chosen.labels, "")
    with pytest.raises(InputError, match="kind of picture"):
        figure.save(drawn, tmp_path / "f.bmp")
    with pytest.raises(InputError, match="cannot be written"):
        figure.save(drawn, tmp_path / "none" / "f.png")
    assert list(tmp_path.iterdir()) == []


def test_a_class_has_the_same_colour_whichever_classes_are_shown():
    classes = [f"class {i:02d}" for i in range(25)]

    def colours(labels, **options):
        truth, chosen = scene([], labels=labels, recordings=1)
        drawn = figure.draw(figure.strips(chosen, truth), chosen.labels, "", classes, **options)
        spans = [p for container in drawn.axes[0].containers for p in container]
        return {round(p.get_x() / 10): to_hex(p.get_facecolor()).upper() for p in spans}

    every = colours(classes)
    assert len(set(every.values())) == 25
    assert colours(classes[11:14]) == {k: every[11 + k] for k in range(3)}
    assert colours(["class 03", "other"]) == {0: every[3], 1: label_colours(classes, ["other"])["other"]}
