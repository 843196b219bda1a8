"""Kinds of errors against plain loops written from the definitions of DETAD, and what must hold for any input."""

from collections import Counter
from fractions import Fraction
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tal_jax.data import annotations
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation import diagnosis
from tal_jax.evaluation.detection import evaluate_detections, match_detections, parse_tiou, precision_of
from tal_jax.evaluation.ground_truth import select
from tal_jax.evaluation.segment_table import segment_table

TIOU = (0.05, 0.3, 0.5, 0.75)
LABELS = ("a", "b", "c")
STPN = Path(__file__).parents[2] / "../shared/data/thumos14_stpn"


def table(rows):
    """Rows of (recording, label, (start, end), score)."""
    return segment_table(*([row[i] for row in rows] for i in range(4)))


segments = st.tuples(st.integers(0, 8), st.integers(0, 5)).map(lambda x: (x[0], x[0] + x[1]))
truth_rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), segments, st.just(1)), min_size=1, max_size=12)
detection_rows = st.lists(
    st.tuples(st.integers(-1, 3), st.integers(-1, 2), segments, st.integers(0, 40)),
    max_size=30,
    unique_by=lambda x: x[3],
)


def overlap(a, b):
    intersection = min(a[1], b[1]) - max(a[0], b[0])
    return Fraction(intersection, (a[1] - a[0]) + (b[1] - b[0]) - intersection) if intersection > 0 else Fraction(0)


def reference_kinds(truth, detections, threshold):
    """The kind of every detection with a class, by its place: DETAD's definitions one after the other."""
    threshold, least = Fraction(str(threshold)), Fraction("0.1")
    taken, found = set(), {}
    for place in sorted(range(len(detections)), key=lambda i: -detections[i][3]):
        recording, label, span, _ = detections[place]
        if label < 0:
            continue
        here = [(i, t[1] == label, overlap(span, t[2])) for i, t in enumerate(truth) if t[0] == recording]
        own, other = [o for _, same, o in here if same], [o for _, same, o in here if not same]
        free = [(o, i) for i, same, o in here if same and i not in taken and o >= threshold]
        if free:
            taken.add(max(free)[1])
            found[place] = "true positive"
        elif max(own, default=0) >= threshold:
            found[place] = "double detection"
        elif max(other, default=0) >= threshold:
            found[place] = "wrong label"
        elif max(own, default=0) >= least:
            found[place] = "localisation"
        elif max(other, default=0) >= least:
            found[place] = "confusion"
        else:
            found[place] = "background"
    return found


def diagnosed(truth, detections, tiou=TIOU):
    matching = match_detections(truth, detections, tiou)
    return matching, diagnosis.kinds_of(matching, diagnosis.overlaps(truth, detections))


@hypothesis.settings(max_examples=100)
@hypothesis.given(truth_rows, detection_rows)
def test_kinds_follow_the_definitions(truth, detections):
    matching, kinds = diagnosed(table(truth), table(detections))
    for a, threshold in enumerate(TIOU):
        expected = reference_kinds(truth, detections, threshold)
        names = [diagnosis.KINDS[kind] for kind in kinds[a]]
        assert dict(zip(matching.row.tolist(), names, strict=True)) == expected


def test_each_kind_in_one_recording():
    truth = table([(0, 0, (0, 10), 1), (0, 1, (20, 30), 1)])
    rows = [
        ((0, 9), "true positive"), ((1, 10), "double detection"), ((20, 29), "wrong label"), ((0, 3), "localisation"),
        ((27, 33), "confusion"), ((12, 18), "background"), ((9.5, 19), "background"),
    ]  # fmt: skip
    detections = table([(0, 0, span, -i) for i, (span, _) in enumerate(rows)])
    _, kinds = diagnosed(truth, detections, (0.5,))
    assert [diagnosis.KINDS[kind] for kind in kinds[0]] == [kind for _, kind in rows]


@hypothesis.given(truth_rows, detection_rows)
def test_counts_add_up_and_no_kind_costs_less_than_nothing(truth, detections):
    truth, detections = table(truth), table(detections)
    check(truth, detections, TIOU)


def check(truth, detections, tiou):
    matching, kinds = diagnosed(truth, detections, tiou)
    positives = np.bincount(truth.label, minlength=len(LABELS))
    profile = diagnosis.profile(matching, kinds, truth)
    of_class = {k: int((detections.label == k).sum()) for k in np.unique(truth.label)}
    assert profile.considered == sum(min(n, 10 * positives[k]) for k, n in of_class.items())
    assert profile.considered + profile.beyond == sum(of_class.values())
    assert (profile.totals.sum(axis=1) == profile.considered).all()
    cost = diagnosis.cost(matching, kinds, truth)
    assert (cost >= 0).all()
    before = precision_of(matching, truth, list(map(str, range(1000)))).mAP
    for a, threshold in enumerate(tiou):
        for kind in range(1, len(diagnosis.KINDS)):
            kept = np.setdiff1d(np.arange(len(detections)), matching.row[kinds[a] == kind])
            without = evaluate_detections(truth, detections.take(kept), list(map(str, range(1000))), [threshold])
            assert without.average == pytest.approx(before[a] + cost[kind, a], abs=1e-12)
            assert without.average >= before[a] - 1e-12


def test_profile_counts_by_multiples_of_the_segments():
    truth = [(0, 0, (0, 10), 1), (1, 0, (0, 10), 1), (2, 1, (0, 10), 1)]
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(3)), int(rng.integers(3)), (0, int(rng.integers(1, 20))), i) for i in range(120)]
    matching, kinds = diagnosed(table(truth), table(rows), (0.5,))
    found = diagnosis.profile(matching, kinds, table(truth)).counts[0]
    expected = np.zeros_like(found)
    names = reference_kinds(truth, rows, 0.5)
    for label, segments_of_class in Counter(t[1] for t in truth).items():
        ranked = sorted((i for i, row in enumerate(rows) if row[1] == label), key=lambda i: -rows[i][3])
        for rank, i in enumerate(ranked[: 10 * segments_of_class]):
            expected[rank // segments_of_class, diagnosis.KINDS.index(names[i])] += 1
    np.testing.assert_array_equal(found, expected)


def test_published_detections():
    """9,151 detections of STPN on THUMOS14."""
    if not STPN.is_dir():
        pytest.skip("the published detections are not here")
    chosen = select(annotations.read(STPN / "ground_truth.json"), submission.read(STPN / "detections.json"), "testing")
    check(chosen.truth, chosen.detections, parse_tiou("0.1:0.9:0.1"))
