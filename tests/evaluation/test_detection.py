"""Detection mAP against an evaluator written independently, with exact fractions and plain loops."""

from fractions import Fraction

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tal_jax.errors import InputError
from tal_jax.evaluation import segment_table as pairs
from tal_jax.evaluation.detection import DetectionResult, evaluate_detections, parse_tiou
from tal_jax.evaluation.segment_table import segment_table

LABELS = ("a", "b", "c")
TIOU = (0.25, 0.5, 0.7, 1.0)


def table(rows):
    """Rows of (recording, label, (start, end), score)."""
    return segment_table(*([row[i] for row in rows] for i in range(4)))


def overlap(a, b) -> Fraction:
    intersection = min(a[1], b[1]) - max(a[0], b[0])
    if intersection <= 0:
        return Fraction(0)
    return Fraction(intersection, (a[1] - a[0]) + (b[1] - b[0]) - intersection)


def reference_ap(truth, detections, label, threshold: Fraction) -> Fraction:
    truth = [row for row in truth if row[1] == label]
    found = [(row, place) for place, row in enumerate(detections) if row[1] == label]
    found.sort(key=lambda item: (-item[0][3], -item[1]))
    taken: set[int] = set()
    curve = []  # (recall, precision) after every detection
    for n, ((recording, _, segment, _), _) in enumerate(found, start=1):
        options = [(overlap(segment, t[2]), i) for i, t in enumerate(truth) if t[0] == recording and i not in taken]
        if options and max(options)[0] >= threshold:
            taken.add(max(options)[1])
        curve.append((Fraction(len(taken), len(truth)), Fraction(len(taken), n)))
    area, before = Fraction(0), Fraction(0)
    for recall in sorted({r for r, _ in curve}):
        area += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return area


segments = st.tuples(st.integers(0, 8), st.integers(0, 5)).map(lambda x: (x[0], x[0] + x[1]))
truth_rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), segments, st.just(1)), min_size=1, max_size=12)
detection_rows = st.lists(
    st.tuples(st.integers(-1, 4), st.integers(-1, 3), segments, st.sampled_from([0, 1, 2])), max_size=30
)


@hypothesis.settings(max_examples=100)
@hypothesis.given(truth_rows, detection_rows)
def test_agrees_with_the_plain_evaluator_also_in_ties(truth, detections):
    check_against_reference(truth, detections)


@pytest.mark.parametrize("seed", range(30))
def test_agrees_with_the_plain_evaluator_on_crowded_recordings(seed):
    """Hypothesis likes small lists; precision that rises again with recall needs many detections and many hits."""
    rng = np.random.default_rng(seed)

    def rows(count, scores):
        starts = rng.integers(0, 12, count)
        spans = zip(starts.tolist(), (starts + rng.integers(1, 5, count)).tolist(), strict=True)
        numbers = [rng.integers(0, n, count).tolist() for n in (2, 2, scores)]
        return [(r, k, span, score) for r, k, score, span in zip(*numbers, spans, strict=True)]

    check_against_reference(rows(20, 1), rows(80, 10))


def check_against_reference(truth, detections):
    result = evaluate_detections(table(truth), table(detections), LABELS, TIOU)
    present = sorted({row[1] for row in truth})
    assert result.labels == tuple(LABELS[k] for k in present)
    expected = [[float(reference_ap(truth, detections, k, Fraction(str(t)))) for k in present] for t in TIOU]
    np.testing.assert_allclose(result.per_class, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.mAP, np.mean(expected, axis=1), rtol=0, atol=1e-12)
    assert result.average == pytest.approx(np.mean(expected))


@hypothesis.given(truth_rows, detection_rows, st.integers(1, 9))
def test_memory_chunks_change_nothing(truth, detections, chunk):
    whole = evaluate_detections(table(truth), table(detections), LABELS, TIOU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "CHUNK_PAIRS", chunk)
        chunked = evaluate_detections(table(truth), table(detections), LABELS, TIOU)
    np.testing.assert_array_equal(chunked.per_class, whole.per_class)


@hypothesis.given(truth_rows, detection_rows)
def test_better_localised_truth_never_hurts(truth, detections):
    result = evaluate_detections(table(truth), table(detections), LABELS, TIOU)
    assert ((result.per_class >= 0) & (result.per_class <= 1)).all()
    perfect = [(r, k, s, 9) for r, k, s, _ in truth if s[1] > s[0]]
    better = evaluate_detections(table(truth), table(perfect + list(detections)), LABELS, TIOU)
    proper = {k for _, k, s, _ in truth if s[1] > s[0]} - {k for _, k, s, _ in truth if s[1] == s[0]}
    for column, label in enumerate(better.labels):
        if LABELS.index(label) in proper:
            np.testing.assert_array_equal(better.per_class[:, column], 1)


def test_equal_scores_rank_the_later_detection_first():
    truth = [(0, 0, (0, 10), 1)]
    right, wrong = (0, 0, (0, 10), 0.5), (0, 0, (20, 30), 0.5)
    assert evaluate_detections(table(truth), table([wrong, right]), "a", [0.5]).average == 1
    assert evaluate_detections(table(truth), table([right, wrong]), "a", [0.5]).average == 0.5


def test_a_detection_falls_back_to_the_next_free_segment():
    truth = [(0, 0, (0, 10), 1), (0, 0, (2, 12), 1)]
    detections = [(0, 0, (0, 10), 0.9), (0, 0, (0, 10), 0.8)]
    assert evaluate_detections(table(truth), table(detections), "a", [0.6]).average == 1
    assert evaluate_detections(table(truth), table(detections), "a", [0.7]).average == 0.5


def test_overlap_on_the_threshold_counts():
    truth, detections = [(0, 0, (0, 10), 1)], [(0, 0, (0, 7), 1)]
    assert evaluate_detections(table(truth), table(detections), "a", parse_tiou("0.5:0.95:0.05")).mAP.tolist() == (
        [1] * 5 + [0] * 5
    )


def test_no_detections_and_no_truth():
    truth = [(0, 0, (0, 1), 1)]
    result = evaluate_detections(table(truth), table([]), LABELS, TIOU)
    assert isinstance(result, DetectionResult)
    assert result.per_class.tolist() == [[0]] * 4
    with pytest.raises(InputError, match="ground truth"):
        evaluate_detections(table([]), table(truth), LABELS, TIOU)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5:0.95:0.05", [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]),
        ("0.1:0.7:0.1", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        ("0.5:0.5:0.1", [0.5]),
        ("0.3, 0.5,0.7", [0.3, 0.5, 0.7]),
        ("1", [1.0]),
    ],
)
def test_thresholds(text, expected):
    assert parse_tiou(text).tolist() == expected


@pytest.mark.parametrize(
    "text",
    ["", "x", "0.5:0.9", "0.5:0.9:0", "0.9:0.5:0.1", "0.5:0.9:0.3", "0,0.5", "1.1", "nan", "0.5,0.5", "0:1:inf", "0_1"],
)
def test_bad_thresholds_are_one_line_with_a_remedy(text):
    with pytest.raises(InputError, match=r"^--tiou: .*use first:last:step.*$"):
        parse_tiou(text)


def test_segment_table_refuses_what_is_not_finite_or_aligned():
    with pytest.raises(InputError, match="row 1 has a time or score"):
        segment_table([0, 0], [0, 0], [(0, 1), (0, float("nan"))], [1, 1])
    with pytest.raises(InputError, match="shapes"):
        segment_table([0], [0, 0], [(0, 1), (0, 1)], [1, 1])
