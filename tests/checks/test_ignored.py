"""Detections where nobody knows what there is: the rule that THUMOS14's kit has for "Ambiguous" segments."""

import json

import numpy as np
import pytest

from tal_jax import evaluate
from tal_jax.checks import ignored
from tal_jax.data import annotations
from tal_jax.data.annotations import Instance, Recording
from tal_jax.errors import InputError
from tal_jax.evaluation import curves, diagnosis, table
from tal_jax.evaluation.bootstrap import resampled_precision
from tal_jax.evaluation.detection import evaluate_detections, match_detections
from tal_jax.evaluation.ground_truth import select
from tal_jax.evaluation.per_recording import score_recordings
from tal_jax.evaluation.segment_table import segment_table
from tal_jax.evaluation.sensitivity import sensitivity

TIOU = np.array([0.3, 0.5, 0.7])


def rows(*lines):
    """Of (recording, label, start, end[, score])."""
    return segment_table(*zip(*((r, k, (a, b), s[0] if s else 1.0) for r, k, a, b, *s in lines), strict=True))


TRUTH = rows((0, 0, 0, 10), (1, 0, 50, 60))
AMBIGUOUS = rows((0, -1, 30, 40))
FOUND = rows(
    (0, 0, 38, 48, 0.9),  # finds nothing, overlaps with the ambiguous segment: no mistake
    (0, 0, 0, 10, 0.8),  # right
    (1, 0, 30, 40, 0.7),  # finds nothing; in the other recording these seconds are not ambiguous
    (0, 0, 40, 48, 0.6),  # finds nothing, and only touches
    (0, 0, 35, 35, 0.5),  # finds nothing, and has no length to overlap with
    (1, 0, 50, 60, 0.4),  # right
)


def test_a_detection_that_finds_nothing_there_leaves_the_ranking():
    """By hand: of the ranking right, wrong, wrong, wrong, right, precision is 1 and then 2 of 5."""
    plain = evaluate_detections(TRUTH, FOUND, ("a",), [0.5])
    assert plain.average == pytest.approx((1 / 2 + 2 / 6) / 2)
    assert evaluate_detections(TRUTH, FOUND, ("a",), [0.5], AMBIGUOUS).average == pytest.approx((1 + 2 / 5) / 2)


def test_a_detection_that_finds_something_there_counts():
    """At the low threshold the detection is right, although it reaches into the ambiguous segment."""
    truth, found = rows((0, 0, 0, 10)), rows((0, 0, 0, 14, 0.9), (0, 0, 20, 30, 0.8))
    result = evaluate_detections(truth, found, ("a",), [0.7, 0.8], rows((0, -1, 12, 20)))
    assert result.mAP.tolist() == [1.0, 0.0]  # 10 / 14 is 0.71


def by_loop(truth, found, excusing, tiou, labels):
    """AP [A, K] by loops over detections, from the rules as they are written down."""

    def overlap(a, b):
        return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))

    result = np.zeros((len(tiou), labels))
    for a, threshold in enumerate(tiou):
        for k in range(labels):
            own = [i for i in range(len(truth)) if truth.label[i] == k]
            free, right, wrong, best = set(own), 0, 0, []
            ranked = sorted((i for i in range(len(found)) if found.label[i] == k), key=lambda i: -found.score[i])
            for i in ranked:
                segment, scores = found.segments[i], {}
                for j in free:
                    both = overlap(segment, truth.segments[j])
                    union = np.ptp(segment) + np.ptp(truth.segments[j]) - both
                    if truth.recording[j] == found.recording[i] and both / union >= threshold:
                        scores[j] = both / union
                if scores:
                    free.remove(max(scores, key=scores.get))
                    right += 1
                    best.append([right, right + wrong])
                elif not any(
                    excusing.recording[j] == found.recording[i] and overlap(segment, excusing.segments[j]) > 0
                    for j in range(len(excusing))
                ):
                    wrong += 1
            precision = [n / m for n, m in best]
            result[a, k] = sum(max(precision[i:]) for i in range(len(precision))) / len(own)
    return result


def drawn(seed, recordings=4, labels=3):
    rng = np.random.default_rng(seed)

    def some(n, score):
        start = rng.uniform(0, 80, n)
        segments = np.stack([start, start + rng.uniform(0.5, 25, n)], 1)
        scores = rng.permutation(n) / n if score else np.ones(n)
        return segment_table(rng.integers(0, recordings, n), rng.integers(0, labels, n), segments, scores)

    truth = some(20, False)
    truth.label[:labels] = np.arange(labels)
    return truth, some(150, True), some(5, False)


@pytest.mark.parametrize("seed", range(4))
def test_equals_a_loop_over_detections(seed):
    truth, found, excusing = drawn(seed)
    result = evaluate_detections(truth, found, tuple("abc"), TIOU, excusing)
    np.testing.assert_allclose(result.per_class, by_loop(truth, found, excusing, TIOU, 3), atol=1e-12)
    assert (result.per_class >= evaluate_detections(truth, found, tuple("abc"), TIOU).per_class).all()
    assert result.average > evaluate_detections(truth, found, tuple("abc"), TIOU).average


def test_every_figure_of_a_report_counts_alike():
    """The mAP that the diagnosis, the curves, the resamples and the sensitivity start from is that of the table."""
    truth, found, excusing = drawn(7)
    mean = evaluate_detections(truth, found, tuple("abc"), TIOU, excusing).mAP
    matching = match_detections(truth, found, TIOU, excusing)
    once = resampled_precision(truth, found, 3, TIOU, np.arange(4), np.ones((1, 4)), excusing)
    assert once[0] == pytest.approx(mean.mean())
    kinds = diagnosis.kinds_of(matching, diagnosis.overlaps(truth, found))
    assert ((kinds == diagnosis.EXCUSED) == ~(matching.hits | matching.misses)).all()
    assert (kinds == diagnosis.EXCUSED).any()
    profile = diagnosis.profile(matching, kinds, truth)
    assert (profile.totals.sum(axis=1) < profile.considered).all()
    # Without all false positives everything found is precise: what they cost and the mAP make the recall.
    cost = diagnosis.cost(matching, kinds, truth)
    assert (cost >= 0).all()
    for a, curve in enumerate(curves.precision_recall(matching, truth)):
        assert curve.mean() == pytest.approx(mean[a], abs=0.02)
    # Four classes' worth of equal counts: normalised precision is the usual one where all classes are as frequent.
    even = truth.take(np.concatenate([np.flatnonzero(truth.label == k)[:2] for k in range(3)]))
    same = match_detections(even, found, TIOU, excusing)
    expected = evaluate_detections(even, found, tuple("abc"), TIOU, excusing).mAP
    np.testing.assert_allclose(sensitivity(same, even, [100.0] * 4).overall, expected)
    alone = score_recordings(match_detections(TRUTH, FOUND, [0.5], AMBIGUOUS), TRUTH, FOUND, 2)
    assert alone.precision.tolist() == [1.0, 0.5]


RECORDINGS = {
    "v1": Recording("v1", "testing", None, (Instance(0, 10, "a"), Instance(30, 40, "Ambiguous"))),
    "v2": Recording("v2", "testing", None, (Instance(50, 60, "a"), Instance(0, 5, "b")), ("c",)),
    "v3": Recording("v3", "testing", None, (Instance(0, 9, "Ambiguous"),)),
}


def test_classes_are_taken_out_and_counted():
    found, notes = ignored.leave_out(RECORDINGS, ("Ambiguous",), "A.json")
    assert notes == [("ignored", "Ambiguous", "2 segments in 2 recordings")]
    assert found["v1"].instances == (Instance(0, 10, "a"),)
    assert found["v1"].labels == ("a",)
    assert found["v1"].ignored == (Instance(30, 40, "Ambiguous"),)
    assert (found["v2"].labels, found["v2"].ignored) == (("a", "b", "c"), ())
    assert (found["v3"].instances, found["v3"].labels) == ((), ())
    assert ignored.leave_out(RECORDINGS, (), "A.json") == (RECORDINGS, [])


def test_classes_that_there_are_not_are_named():
    with pytest.raises(InputError, match=r"^A.json: --ignore_labels: no annotation has .* did you mean 'Ambiguous'\?$"):
        ignored.leave_out(RECORDINGS, ("ambigous",), "A.json")
    with pytest.raises(InputError, match="every class"):
        ignored.leave_out(RECORDINGS, ("Ambiguous", "a", "b", "c"), "A.json")
    assert ignored.leave_out_known(RECORDINGS, ("b", "elsewhere"), "A.json")["v2"].labels == ("a", "c")


def test_the_flag_takes_several_labels_and_labels_with_commas():
    assert ignored.parse(["Ambiguous, b", "a", '"eat, drink",x', ""]) == ("Ambiguous", "b", "a", "eat, drink", "x")


@pytest.fixture
def files(tmp_path):
    """A perfect detector that also fires where the annotators were not sure."""
    truth, found = tmp_path / "a.json", tmp_path / "d.json"
    recordings = {**RECORDINGS, "v2": Recording("v2", "testing", None, (Instance(50, 60, "a"),))}
    truth.write_text(json.dumps(annotations.layout(recordings.values(), "1")))
    right = [("v1", 0, 10), ("v2", 50, 60)]
    unsure = [("v1", 28, 41), ("v3", 0, 9)]
    results = {id: [] for id in RECORDINGS}
    for score, lines in ((0.9, unsure), (0.8, right)):
        for id, start, end in lines:
            results[id].append({"label": "a", "score": score, "segment": [start, end]})
    found.write_text(json.dumps({"results": results}))
    return truth, found


def test_where_the_kit_gives_a_hundred_so_do_we(files):
    truth, found = files
    assert evaluate(truth, found, subset="test", tiou=[0.5], ignore_labels=["Ambiguous"]).average == 1
    # As a class with AP 0, beside one whose first two detections would be wrong.
    assert evaluate(truth, found, subset="test", tiou=[0.5]).average == pytest.approx((0 + 2 / 4) / 2)


def test_what_was_ignored_is_said(files):
    from tal_jax.evaluation.detection_files import read

    truth, found = files
    recordings, _ = ignored.leave_out(annotations.read(truth), ("Ambiguous",), str(truth))
    chosen = select(recordings, read(found), "test")
    assert (
        "ignored: segments of classes that do not count (Ambiguous: 2): 2 detections overlap with them, and count only "
        "where they find something"
    ) in table.account(chosen)
    silent = table.account(select(annotations.read(truth), read(found), "test"))
    assert "classes without a detection: 1 label (Ambiguous): AP 0" in silent
    doubt = "counted: 1 label (Ambiguous), which THUMOS14's kit leaves out: --ignore_labels does"
    assert doubt in silent
    assert doubt not in table.account(chosen)


def test_what_the_kit_does_not_count_is_told():
    assert ignored.uncounted(["a", "ambiguous ", "Ambiguous", "Ambiguous move"]) == ["ambiguous ", "Ambiguous"]
    (note,) = ignored.remarks(["a", "Ambiguous"])
    assert note == ("uncounted", "Ambiguous", "a class as any other; --ignore_labels leaves it out")
