"""The picture of class activation sequences: it shows the data, and labels and odd input cannot spoil it."""

import itertools
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.text import Text

from tal_jax.errors import InputError
from tal_jax.plots import cas as cas_figure
from tal_jax.plots import detections as figure
from tal_jax.plots.cas import Sequences
from tal_jax.plots.colours import label_colours
from tal_jax.plots.detections import Bar

ODD = ("$x^{", "_hidden", "a" * 80, "bell\a\nline", "走る")
STRIDE = 0.5


def recording(name="v0", truth=((2, 5, 0), (6, 9, 2)), rows=("CAS", "full"), snippets=20, classes=5, peak=0.15, seed=0):
    """A recording with CAS below `peak`, and segments (start, end, label)."""
    rng = np.random.default_rng(seed)
    cas = {row: rng.uniform(0, peak, (snippets, classes)).astype(np.float32) for row in rows}
    return Sequences(name, snippets * STRIDE, tuple(Bar(*bar, 1.0) for bar in truth), STRIDE, cas)


def draw(*shown, labels=ODD, text=""):
    return cas_figure.draw(shown, labels, text)


def panels(drawn, block=0):
    """The panels of a block, from the top down: truth, then the rows."""
    return sorted(drawn.axes[block].child_axes, key=lambda axes: -axes.get_position().y0)


def names(drawn, block=0):
    return [text.get_text() for text in drawn.axes[block].get_yticklabels()]


def legend(drawn):
    return [text.get_text() for text in drawn.legends[0].get_texts()]


def legend_colours(drawn):
    return [to_hex(h.get_facecolor()).upper() for h in drawn.legends[0].get_patches()]


def line_colour(line):
    return to_hex(line.get_color()).upper()


def values(line):
    """What a curve shows of the snippets, without its level ends."""
    return np.asarray(line.get_ydata())[1:-1]


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (3, 1)), (4, (2, 2)), (5, (3, 2))])
def test_a_block_per_recording_and_a_panel_per_row(count, shape):
    shown = [recording(f"v{i}", rows=("z", "a", "m")[: 3 - i % 2]) for i in range(count)]
    drawn = draw(*shown)
    assert [axes.get_title(loc="left") for axes in drawn.axes] == [one.id for one in shown]
    assert drawn.axes[0].get_subplotspec().get_gridspec().get_geometry() == shape
    for i, one in enumerate(shown):
        assert len(panels(drawn, i)) == 1 + len(one.rows)
        assert names(drawn, i) == ["truth", *one.rows]
    assert [bool(axes.get_xlabel()) for axes in drawn.axes] == [i + shape[1] >= count for i in range(count)]


def test_rows_keep_their_order_and_their_names_stand_beside_them():
    one = recording(rows=("z", "a", "m"))
    drawn = draw(one)
    drawn.draw_without_rendering()
    block = drawn.axes[0]
    for axes, cas in zip(panels(drawn)[1:], one.rows.values(), strict=True):
        np.testing.assert_array_equal(values(axes.lines[0]), cas[:, 0])
    for axes, place in zip(panels(drawn), block.get_yticks(), strict=True):
        box = axes.get_window_extent()
        assert block.transData.transform((0, place))[1] == pytest.approx((box.y0 + box.y1) / 2)
    names_end = max(name.get_window_extent().x1 for name in block.get_yticklabels())
    assert names_end < min(axes.get_tightbbox().x0 for axes in panels(drawn))  # the scales are beside, not beneath
    boxes = [axes.get_window_extent() for axes in panels(drawn)]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(boxes))


def test_names_of_rows_stand_only_once_beside_equal_neighbours():
    shown = [recording(rows=rows) for rows in (("a", "b"), ("a", "b"), ("a", "b"), ("b", "a"))]
    drawn = draw(*shown)
    named = [axes.yaxis.get_major_ticks()[0].label1.get_visible() for axes in drawn.axes]
    assert named == [True, False, True, True]


def test_curves_are_the_data_at_the_centres_of_the_snippets():
    one = recording()
    drawn = draw(one)
    colours = legend_colours(drawn)
    centres = [STRIDE * (i + 0.5) for i in range(20)]
    for axes, cas in zip(panels(drawn)[1:], one.rows.values(), strict=True):
        assert len(axes.lines) == len(axes.collections) == 2
        for line, area, label, colour in zip(axes.lines, axes.collections, (0, 2), colours, strict=True):
            np.testing.assert_allclose(line.get_xdata(), [0, *centres, 10])
            np.testing.assert_array_equal(line.get_ydata(), [cas[0, label], *cas[:, label], cas[-1, label]])
            assert line_colour(line) == colour
            assert to_hex(area.get_facecolor()[0]).upper() == colour
            corners = {tuple(corner) for corner in area.get_paths()[0].vertices.round(6)}
            assert corners >= {tuple(corner) for corner in np.stack(line.get_data(), 1).round(6)}
        assert axes.get_xlim() == drawn.axes[0].get_xlim() == (0, 10)
        assert axes.get_ylim()[0] == 0
        assert 1 <= axes.get_ylim()[1] < 1.1
        assert axes.get_yticks().tolist() == [0, 1]


def test_truth_and_its_boundaries():
    bars = ((2, 5, 0), (5, 9, 2), (2, 5, 0))
    drawn = draw(recording(truth=bars))
    truth = panels(drawn)[0]
    spans = [(p.get_x(), p.get_x() + p.get_width(), to_hex(p.get_facecolor()).upper()) for p in truth.patches]
    colour = dict(zip((0, 2), legend_colours(drawn), strict=True))
    assert sorted(spans) == sorted((start, end, colour[label]) for start, end, label in bars)
    block = drawn.axes[0]
    (lines,) = block.collections
    assert [segment[:, 0].tolist() for segment in lines.get_segments()] == [[2, 2], [5, 5], [9, 9]]
    assert {tuple(segment[:, 1]) for segment in lines.get_segments()} == {block.get_ylim()}
    assert not any(axes.patch.get_visible() and axes.axison for axes in panels(drawn))  # nothing hides the lines


segment = st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(0, 4)).map(lambda x: (x[0], x[0] + x[1], x[2]))


@hypothesis.given(st.lists(segment, max_size=12))
def test_lanes_hold_every_bar_without_overlaps_and_are_as_few_as_possible(truth):
    bars = [Bar(*bar, 1.0) for bar in truth]
    lanes = cas_figure._lanes(bars)
    assert sorted(map(hash, bars)) == sorted(hash(bar) for lane in lanes for bar in lane)
    for lane in lanes:
        assert all(a.end <= b.start or b.end <= a.start for i, a in enumerate(lane) for b in lane[:i])
    assert len(lanes) == max((sum(bar.start <= time < bar.end for bar in bars) for time in range(30)), default=0)


def test_bars_of_one_time_do_not_hide_each_other():
    drawn = draw(recording(truth=((2, 5, 0), (2, 5, 2), (6, 9, 2))))
    spans = sorted((p.get_y(), p.get_y() + p.get_height()) for p in panels(drawn)[0].patches)
    assert len(spans) == 3
    assert spans[0][1] < spans[1][0]
    assert 0 <= spans[0][0] < spans[-1][1] <= 1


def test_other_classes_are_dashed_where_they_are_visible():
    one = recording()
    one.rows["full"][7, 3] = 0.21
    one.rows["CAS"][7, 4] = 0.2  # not above
    one.rows["CAS"][7, 0] = 0.9
    drawn = draw(one)
    _, first, second = panels(drawn)
    assert [line.get_linestyle() for line in first.lines] == ["-", "-"]
    assert [line.get_linestyle() for line in second.lines] == ["-", "-", "--"]
    np.testing.assert_array_equal(values(second.lines[2]), one.rows["full"][:, 3])
    assert line_colour(second.lines[2]) == legend_colours(drawn)[2]
    assert len(second.collections) == 2  # no area
    assert legend(drawn) == ["$x^{", "a" * 31 + "…", "bell??line", "not in the recording, CAS above 0.2"]


def test_a_class_has_the_colour_of_its_name():
    one, other = recording(truth=((0, 1, 4),)), recording("v1", truth=((0, 1, 3),))
    one.rows["CAS"][:, [0, 3]] = 0.5
    drawn = draw(one, other)
    colour = [label_colours(ODD)[label] for label in ODD]
    assert legend(drawn)[:3] == ["bell??line", "走る", "$x^{"]
    assert legend_colours(drawn) == [colour[k] for k in (3, 4, 0)]
    assert [line_colour(line) for line in panels(drawn)[1].lines] == [colour[k] for k in (4, 0, 3)]
    assert [line_colour(line) for line in panels(drawn, 1)[1].lines] == [colour[3]]
    assert legend_colours(draw(other)) == [colour[3]]  # whatever else is shown


def test_a_class_never_seen_is_a_line_at_zero():
    one = recording(truth=((2, 5, 1),), peak=0.0)
    drawn = draw(one)
    for axes in panels(drawn)[1:]:
        assert [values(line).tolist() for line in axes.lines] == [[0.0] * 20]
    assert legend(drawn) == ["_hidden"]


def test_one_snippet_is_a_line_across_it():
    drawn = draw(recording(truth=((0, 0.5, 0),), snippets=1, peak=1.0))
    for axes in panels(drawn)[1:]:
        x, y = axes.lines[0].get_data()
        assert (x[0], x[-1]) == (0, STRIDE)
        assert len(set(y)) == 1


@pytest.mark.parametrize(("snippets", "widths"), [((20, 60), (30, 30)), ((20, 61), (10, 30.5))])
def test_recordings_of_similar_length_share_a_scale(snippets, widths):
    drawn = draw(*(recording(snippets=n) for n in snippets))
    assert tuple(axes.get_xlim()[1] for axes in drawn.axes) == widths
    assert tuple(panels(drawn, i)[1].get_xlim()[1] for i in range(2)) == widths


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_hostile_text_is_drawn_literally(tmp_path, suffix):
    bars = tuple((k, k + 1, k) for k in range(5))
    shown = [recording(f"$\\frac{{v\n{i}", bars, ("$row^{", "_" + "r" * 60, "\x00\ud800"), seed=i) for i in range(4)]
    drawn = draw(*shown, text="$caption_{ " * 40)
    path = tmp_path / f"f.{suffix}"
    figure.save(drawn, path)
    assert path.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[suffix])
    ours = [text for text in drawn.findobj(Text) if set(text.get_text()) & set("$_\\?")]
    assert {text.get_text() for text in ours} >= {
        "$x^{",
        "bell??line",
        r"$\frac{v?3",
        "$row^{",
        "_" + "r" * 30 + "…",
        "??",
    }
    assert not any(text.get_parse_math() for text in ours)


@pytest.mark.parametrize("longest", [1, 32])
def test_nothing_is_cut_off(longest):
    labels = [f"{k:02d}".ljust(longest, "m") for k in range(25)]
    shown = [recording(f"v{i}", tuple((k / 3, k / 3 + 1, k) for k in range(25)), classes=25) for i in range(4)]
    drawn = draw(*shown, labels=labels, text="word " * 60)
    drawn.draw_without_rendering()
    assert legend(drawn)[19:] == [labels[19], "and 5 more"]
    tight, whole = drawn.get_tightbbox(), drawn.bbox_inches
    assert min(tight.x0, tight.y0) >= 0
    assert tight.x1 <= whole.x1
    assert tight.y1 <= whole.y1
    heights = [axes.get_window_extent().height / drawn.dpi for axes in drawn.axes]
    assert min(heights) > 0.9 * cas_figure._height(2)  # the legend takes nothing from the panels
    parts = [drawn.legends[0].get_window_extent(), *(axes.get_tightbbox() for axes in drawn.axes)]
    assert not any(a.overlaps(b) for i, a in enumerate(parts) for b in parts[:i])


def test_neither_truth_nor_rows_are_needed(tmp_path):
    figure.save(draw(recording(truth=(), rows=())), tmp_path / "f.png")
    drawn = draw(recording(truth=()))
    figure.save(drawn, tmp_path / "g.png")
    assert [len(axes.lines) for axes in panels(drawn)] == [0, 0, 0]


def test_recordings_are_spread_by_name():
    ids = [f"v{i}" for i in (3, 1, 7, 0, 5, 2, 6, 4)]
    assert cas_figure.choose(ids, 3) == ["v0", "v4", "v7"]
    assert cas_figure.choose(ids[::-1] + ids, 3) == ["v0", "v4", "v7"]
    assert cas_figure.choose(ids, 1) == ["v0"]
    assert cas_figure.choose(ids, 99) == sorted(ids)
    assert cas_figure.choose([], 3) == []
    with pytest.raises(InputError, match="at least one"):
        cas_figure.choose(ids, 0)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="pip install"):
        draw(recording())
