"""Detections of one-stage detectors as released: candidates, suppression, votes and a classifier's scores, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import torch_onestage_decoding as decoding
from benchmarks.torch_onestage_decoding import Decoding, Detections

SETTINGS = Decoding()


def detections(segments, scores, labels=None):
    labels = [0] * len(scores) if labels is None else labels
    return Detections(
        np.array(segments, np.float32).reshape(-1, 2), np.array(scores, np.float32), np.array(labels, int)
    )


def logit(p):
    return math.log(p / (1 - p))


def levels(probabilities):
    """Two levels of 4 and 2 points and two classes, with distances 1 and 2 at all points."""
    logits = [np.full((2, 4), -20, np.float32), np.full((2, 2), -20, np.float32)]
    for (level, label, point), p in probabilities.items():
        logits[level][label, point] = logit(p)
    distances = [np.tile(np.float32([[1], [2]]), (1, n)) for n in (4, 2)]
    return logits, distances, [np.ones(4, bool), np.ones(2, bool)]


def test_candidates_of_all_levels():
    logits, distances, masks = levels({(0, 1, 3): 0.5, (0, 0, 3): 0.8, (1, 1, 1): 0.3, (0, 0, 0): 0.0009})
    found = decoding.candidates(logits, distances, masks, SETTINGS)
    np.testing.assert_allclose(found.scores, [0.8, 0.5, 0.3], rtol=1e-5)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.segments.tolist() == [[2, 5], [2, 5], [0, 6]]  # at the second level in units of 2
    assert decoding.candidates(logits, distances, masks, replace(SETTINGS, topk=1)).labels.tolist() == [0, 1]
    masks[0][3] = False
    assert decoding.candidates(logits, distances, masks, SETTINGS).labels.tolist() == [1]
    assert decoding.candidates(logits, distances, masks, replace(SETTINGS, min_length=6)).labels.tolist() == []


def test_distances_by_class():
    logits, _, masks = levels({(0, 1, 3): 0.5, (0, 0, 3): 0.8})
    distances = [np.zeros((4, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)]
    distances[0][3] = [[1, 1], [2, 0.5]]
    found = decoding.candidates(logits, distances, masks, SETTINGS)
    assert found.segments.tolist() == [[2, 4], [1, 3.5]]


def test_soft_suppression_by_hand():
    found = detections([[0, 10], [0, 10], [5, 15], [20, 30]], [0.9, 0.8, 0.7, 0.6])
    index, scores = decoding.soft_nms(found.segments, found.scores, 0.5, 0.001, 10)
    # 0.7 loses by IoU 1/3 to the best, twice: by the best, and by its equal after all; 0.8 loses by 1.
    third, copy = math.exp(-((1 / 3) ** 2) / 0.5), math.exp(-2)
    assert index.tolist() == [0, 3, 2, 1]
    np.testing.assert_allclose(scores, [0.9, 0.6, 0.7 * third, 0.8 * copy * third], rtol=1e-5)
    index, _ = decoding.soft_nms(found.segments, found.scores, 0.5, 0.2, 10)
    assert index.tolist() == [0, 3, 2], "below the least score it leaves"
    assert decoding.soft_nms(found.segments, found.scores, 0.5, 0.001, 2)[0].tolist() == [0, 3]


def test_the_first_pick_stays_whatever_its_score():
    found = detections([[0, 10], [20, 30]], [0.0005, 0.0004])
    assert decoding.soft_nms(found.segments, found.scores, 0.5, 0.001, 10)[0].tolist() == [0]


def plain_soft_nms(segments, scores, sigma, least):
    """With swaps in place, as the released code walks."""
    rest = [[float(a), float(b), float(s), n] for n, ((a, b), s) in enumerate(zip(segments, scores, strict=True))]
    picks = []
    while rest:
        best = max(range(len(rest)), key=lambda n: rest[n][2])
        rest[0], rest[best] = rest[best], rest[0]
        a, b, score, name = rest.pop(0)
        picks.append((name, score))
        n = 0
        while n < len(rest):
            c, d = rest[n][:2]
            shared = max(0.0, min(b, d) - max(a, c))
            iou = shared / ((b - a + 1e-6) + (d - c + 1e-6) - shared)
            rest[n][2] *= math.exp(-(iou**2) / sigma)
            if rest[n][2] < least:
                rest[n] = rest[-1]
                rest.pop()
            else:
                n += 1
    return picks


@pytest.mark.parametrize("seed", range(3))
def test_soft_suppression_of_many(seed):
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 100, 120)
    segments = np.stack([start, start + rng.uniform(0.1, 40, 120)], 1).astype(np.float32)
    scores = rng.uniform(0.001, 1, 120).astype(np.float32)
    index, found = decoding.soft_nms(segments, scores, 0.5, 0.01, 1000)
    expected = plain_soft_nms(segments, scores, 0.5, 0.01)
    assert index.tolist() == [name for name, _ in expected]
    np.testing.assert_allclose(found, [score for _, score in expected], atol=1e-5)


def test_hard_suppression():
    found = detections([[0, 10], [0, 9], [5, 15], [20, 30]], [0.6, 0.9, 0.7, 0.8])
    index, scores = decoding.hard_nms(found.segments, found.scores, 0.5, 10)
    assert index.tolist() == [1, 3, 2]
    np.testing.assert_allclose(scores, [0.9, 0.8, 0.7])
    assert decoding.decode(found, replace(SETTINGS, hard=0.5)).segments[:, 0].tolist() == [0, 20, 5]


def test_classes_suppress_apart_or_together():
    found = detections([[0, 10], [0, 10], [0, 10], [40, 50]], [0.9, 0.8, 0.5, 0.3], [0, 1, 1, 0])
    apart = decoding.decode(found, SETTINGS)
    np.testing.assert_allclose(apart.scores, [0.9, 0.8, 0.3, 0.5 * math.exp(-2)], rtol=1e-5)
    assert apart.labels.tolist() == [0, 1, 0, 1]
    assert decoding.decode(found, replace(SETTINGS, kept=1)).labels.tolist() == [0]
    together = decoding.decode(found, replace(SETTINGS, per_class=False))
    np.testing.assert_allclose(together.scores[:3], [0.9, 0.3, 0.8 * math.exp(-2)], rtol=1e-5)
    assert len(decoding.decode(detections([], []), SETTINGS).scores) == 0


def test_votes_by_hand():
    voters = detections([[0, 10], [0, 8], [30, 40]], [0.9, 0.3, 0.8])
    by_both = decoding.voted(voters.segments[:1], voters, 0.7)
    np.testing.assert_allclose(by_both, [[0, (0.9 * 10 + 0.3 * 0.8 * 8) / (0.9 + 0.3 * 0.8)]], rtol=1e-5)
    by_score = decoding.voted(voters.segments[:1], voters, 0.7, "score")
    np.testing.assert_allclose(by_score, [[0, (0.9 * 10 + 0.3 * 8) / 1.2]], rtol=1e-5)
    assert decoding.voted(voters.segments[:1], voters, 0.81).tolist() == [[0, 10]]
    with pytest.raises(ValueError, match="no weight"):
        decoding.voted(voters.segments, voters, 0.7, "iou")
    together = decoding.decode(voters, replace(SETTINGS, per_class=False))
    np.testing.assert_allclose(together.segments[0], by_both[0])
    without = decoding.decode(voters, replace(SETTINGS, per_class=False, voting=0))
    assert without.segments[0].tolist() == [0, 10]
    assert decoding.decode(voters, SETTINGS).segments[0].tolist() == [0, 10], "no votes within classes"


def test_seconds():
    grid = np.array([[-3, -2], [73, 1000]], np.float32)
    np.testing.assert_allclose(decoding.seconds(grid, 30, 4, 16, 20.0), [[0, 0], [10, 20]])


def test_a_classifier_names_the_classes():
    found = detections([[0, 10], [20, 30], [40, 50]], [0.2, 0.8, 0.1], [5, 5, 5])
    named = decoding.with_classifier(found, np.array([0.1, 0.7, 0.0, 0.2], np.float32), detections=2)
    assert named.labels.tolist() == [1, 1, 3, 3]
    assert named.segments[:, 0].tolist() == [20, 0, 20, 0]
    np.testing.assert_allclose(named.scores, np.sqrt([0.56, 0.14, 0.16, 0.04]), rtol=1e-6)
    np.testing.assert_allclose(decoding.as_probabilities([[0.0, math.log(3)]]), [0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(decoding.as_probabilities([0.3, 0.9]), [0.3, 0.9], rtol=1e-6)
