"""Sensitivity, curves and results by recording against plain loops and against the evaluator itself."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tal_jax.evaluation.curves import RECALL, calibrate, precision_recall
from tal_jax.evaluation.detection import evaluate_detections, match_detections
from tal_jax.evaluation.per_recording import best_of_each, score_recordings
from tal_jax.evaluation.segment_table import segment_table
from tal_jax.evaluation.sensitivity import sensitivity

TIOU = (0.3, 0.5, 0.75)
LABELS = ("a", "b", "c")
DURATIONS = [20.0, 40.0, None]


def table(rows):
    return segment_table(*([row[i] for row in rows] for i in range(4)))


def random_rows(seed, truth=12, detections=60):
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, 12, truth)
    true = [(int(rng.integers(3)), int(rng.integers(3)), (int(s), int(s + rng.integers(1, 9))), 1) for s in starts]
    found = []
    for i in range(detections):
        recording, label, (start, end), _ = true[rng.integers(truth)]
        shift = rng.integers(-2, 3, 2)
        found.append((recording, label, (start + shift[0], max(end + shift[1], start + shift[0])), float(rng.random())))
        if i % 5 == 0:
            found.append((-1, int(rng.integers(-1, 3)), (0, 5), float(rng.random())))
    return true, found


def normalised_precision(truth, matching, a, k, inside, normal):
    """AP_N of one class by a loop over ranks: what found a segment outside of the bucket does not exist."""
    positives = sum(1 for i, row in enumerate(truth) if row[1] == k and inside[i])
    hits = misses = 0
    points = []
    for found, label in zip(matching.found[a].tolist(), matching.label.tolist(), strict=True):
        if label != k or (found >= 0 and not inside[found]):
            continue
        hits, misses = hits + (found >= 0), misses + (found < 0)
        recall = hits / positives
        points.append((recall, recall * normal / (recall * normal + misses), found >= 0))
    return sum(max(q for _, q, _ in points[i:]) for i, point in enumerate(points) if point[2]) / positives


@pytest.mark.parametrize("seed", range(6))
def test_sensitivity_is_that_of_a_loop(seed):
    truth, detections = random_rows(seed)
    matching = match_detections(table(truth), table(detections), TIOU)
    found = sensitivity(matching, table(truth), DURATIONS)
    normal = len(truth) / len({row[1] for row in truth})

    def mean(a, inside):
        classes = sorted({row[1] for i, row in enumerate(truth) if inside[i]})
        return np.mean([normalised_precision(truth, matching, a, k, inside, normal) for k in classes])

    everything = [True] * len(truth)
    for a in range(len(TIOU)):
        assert found.overall[a] == pytest.approx(mean(a, everything))
    lengths = np.array([end - start for _, _, (start, end), _ in truth], float)
    edges = sorted({float(f"{q:.2g}") for q in np.quantile(lengths, (0.2, 0.4, 0.6, 0.8))})
    place = [sum(length > edge for edge in edges) for length in lengths]
    buckets = [b for b in found.buckets if b.characteristic == "length"]
    assert [b.segments for b in buckets] == [place.count(i) for i in range(len(edges) + 1) if i in place]
    for i, bucket in zip(sorted(set(place)), buckets, strict=True):
        inside = [p == i for p in place]
        for a in range(len(TIOU)):
            assert bucket.normalised[a] == pytest.approx(mean(a, inside))
            ids = {j for j in matching.found[a].tolist() if j >= 0 and inside[j]}
            assert bucket.missed[a] == pytest.approx(1 - len(ids) / sum(inside))


@pytest.mark.parametrize("seed", range(3))
def test_every_characteristic_has_each_segment_once(seed):
    truth, detections = random_rows(seed, truth=40)
    found = sensitivity(match_detections(table(truth), table(detections), TIOU), table(truth), DURATIONS)
    without = sum(row[0] == 2 for row in truth)  # recordings of unknown duration
    assert found.unknown == without
    for name, expected in (("coverage", 40 - without), ("length", 40), ("instances", 40)):
        assert sum(b.segments for b in found.buckets if b.characteristic == name) == expected
    counts = [sum(1 for other in truth if other[:2] == row[:2]) for row in truth]
    by_name = {b.name: b.segments for b in found.buckets if b.characteristic == "instances"}
    ranges = {"1": (1, 1), "2-4": (2, 4), "5-8": (5, 8), "9-40": (9, 40)}
    assert by_name == {
        n: sum(a <= c <= b for c in counts) for n, (a, b) in ranges.items() if any(a <= c <= b for c in counts)
    }


@pytest.mark.parametrize("seed", range(6))
def test_precision_at_a_recall_is_the_highest_from_there_on(seed):
    truth, detections = random_rows(seed)
    matching = match_detections(table(truth), table(detections), TIOU)
    curves = precision_recall(matching, table(truth))
    classes = sorted({row[1] for row in truth})
    for a in range(len(TIOU)):
        expected = np.zeros(len(RECALL))
        for k in classes:
            positives, hits, points = sum(row[1] == k for row in truth), 0, []
            rows = matching.found[a][matching.label == k].tolist()
            for n, row in enumerate(rows, start=1):
                hits += row >= 0
                points.append((hits / positives, hits / n))
            expected += [max((p for r, p in points if r >= level - 1e-9), default=0) for level in RECALL]
        np.testing.assert_allclose(curves[a], expected / len(classes))
    result = evaluate_detections(table(truth), table(detections), LABELS, TIOU)
    np.testing.assert_allclose(np.trapezoid(curves, RECALL, axis=1), result.mAP, atol=0.02)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_calibration_is_that_of_a_loop(scale):
    truth, detections = random_rows(1)
    truth = [row for row in truth if row[1] < 2]
    detections = [(*row[:3], scale * row[3]) for row in detections]
    matching = match_detections(table(truth), table(detections), TIOU)
    scores = table(detections).score
    found = calibrate(matching, scores, table(truth))
    hit = dict(zip(matching.row.tolist(), (matching.found[1] >= 0).tolist(), strict=True))
    rows = [(row[3], hit[i]) for i, row in enumerate(detections) if row[1] in (0, 1)]
    assert found.count.sum() == len(rows)
    error = 0.0
    for j in range(len(found.count)):
        last = found.high[j] >= max(s for s, _ in rows)
        inside = [(s, h) for s, h in rows if found.low[j] <= s and (s < found.high[j] or last)]
        assert len(inside) == found.count[j]
        assert found.score[j] == pytest.approx(np.mean([s for s, _ in inside]))
        assert found.precision[1, j] == pytest.approx(np.mean([h for _, h in inside]))
        error += abs(found.score[j] - found.precision[1, j]) * len(inside) / len(rows)
    if scale == 1:
        assert found.error[1] == pytest.approx(error)
        np.testing.assert_allclose(found.high - found.low, 1 / 15)
    else:
        assert found.error is None


def test_perfect_scores_have_no_calibration_error():
    truth = [(0, 0, (i * 10, i * 10 + 5), 1) for i in range(5)]
    found = [(0, 0, span, 1.0) for _, _, span, _ in truth] + [(0, 0, (1000, 1001), 0.0)]
    matching = match_detections(table(truth), table(found), TIOU)
    np.testing.assert_allclose(calibrate(matching, table(found).score, table(truth)).error, 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_recording_by_itself_is_what_the_evaluator_says_of_it_alone(seed):
    truth, detections = random_rows(seed)
    t, d = table(truth), table(detections)
    matching = match_detections(t, d, TIOU)
    found = score_recordings(matching, t, d, 4)
    assert np.isnan(found.precision[3])
    assert found.segments.tolist() == [sum(row[0] == i for row in truth) for i in range(4)]
    for i in set(row[0] for row in truth):
        alone = evaluate_detections(t.take(t.recording == i), d.take(d.recording == i), LABELS, TIOU)
        assert found.precision[i] == pytest.approx(alone.average)
        for a in range(len(TIOU)):
            ids = {j for j in matching.found[a].tolist() if j >= 0 and truth[j][0] == i}
            assert found.found[a, i] == len(ids)


@hypothesis.given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3)), max_size=20), st.integers(1, 4))
def test_the_best_of_each_recording(rows, count):
    found = best_of_each(table([(recording, 0, (0, 1), score) for recording, score in rows]), count).tolist()
    expected = []
    for recording in range(4):
        places = [i for i, row in enumerate(rows) if row[0] == recording]
        expected += sorted(places, key=lambda i: (-rows[i][1], -i))[:count]
    assert found == expected


def test_nothing_detected():
    truth, nothing = table([(0, 0, (0, 5), 1)]), segment_table([], [], np.zeros((0, 2)), [])
    matching = match_detections(truth, nothing, TIOU)
    assert sensitivity(matching, truth, [None]).overall.tolist() == [0, 0, 0]
    assert not precision_recall(matching, truth).any()
    assert len(calibrate(matching, nothing.score, truth).count) == 0
    assert score_recordings(matching, truth, nothing, 1).precision.tolist() == [0]
