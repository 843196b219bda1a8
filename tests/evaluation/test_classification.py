"""Average precision of recordings' classes against the area under the precision-recall curve."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tal_jax.evaluation.classification import label_average_precision


def average_precision(scores, present):
    """Sum over thresholds of the gain in recall times precision, recordings of equal score coming in together."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        found = [p for s, p in zip(scores, present, strict=True) if s >= threshold]
        precision, before, recall = sum(found) / len(found), recall, sum(found) / sum(present)
        total += (recall - before) * precision
    return total


def brute_force(scores, labels):
    classes = [(scores[:, k], labels[:, k]) for k in range(scores.shape[1]) if labels[:, k].any()]
    return np.mean([average_precision(s.tolist(), p.tolist()) for s, p in classes]) if classes else 0.0


@st.composite
def predictions(draw):
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    few = st.sampled_from([0.0, 0.25, 0.5, 1.0])  # ties
    scores = draw(hnp.arrays(np.float32, shape, elements=few | st.floats(0, 1, width=32)))
    return scores, draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0.0, 1.0])))


@given(predictions())
def test_brute_force(made):
    scores, labels = made
    found = label_average_precision(scores, labels)
    assert isinstance(found, float)
    assert found == pytest.approx(brute_force(scores, labels), abs=1e-9)


def column(*values):
    return np.array(values, np.float32)[:, None]


def test_known_values():
    scores = column(0.9, 0.8, 0.7, 0.6)
    assert label_average_precision(scores, column(1, 1, 0, 0)) == 1
    assert label_average_precision(scores, column(0, 0, 0, 1)) == 0.25
    assert label_average_precision(scores, column(1, 0, 1, 0)) == pytest.approx((1 + 2 / 3) / 2)


def test_recordings_of_equal_score_share_the_last_rank_whatever_their_order():
    assert label_average_precision(column(0.5, 0.5, 0.5, 0.5), column(1, 0, 0, 0)) == 0.25
    for order in itertools.permutations(range(4)):
        scores, labels = column(0.9, 0.5, 0.5, 0.1)[order, :], column(0, 1, 0, 1)[order, :]
        assert label_average_precision(scores, labels) == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_classes_that_no_recording_holds_do_not_count():
    scores, labels = np.random.default_rng(0).uniform(size=(6, 3)), column(1, 0, 0, 1, 0, 1)
    alone = label_average_precision(scores[:, 1:2], labels)
    assert 0 < alone < 1
    assert label_average_precision(scores, np.pad(labels, ((0, 0), (1, 1)))) == alone
    assert label_average_precision(np.ones((3, 2)), np.zeros((3, 2))) == 0
    assert label_average_precision(np.zeros((0, 2)), np.zeros((0, 2))) == 0
