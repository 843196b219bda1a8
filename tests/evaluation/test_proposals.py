"""AR@AN against the rule written out as plain loops."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tal_jax.errors import InputError
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.evaluation.segment_table import segment_table

TIOU = (0.5, 0.75, 1.0)


def table(rows):
    """Rows of (recording, (start, end), score)."""
    return segment_table([r[0] for r in rows], [-1] * len(rows), [r[1] for r in rows], [r[2] for r in rows])


def overlap(a, b) -> float:
    intersection = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return intersection / (a[1] - a[0] + b[1] - b[0] - intersection) if intersection else 0.0


def reference(truth, proposals, max_average):
    """Recall [A][100], and the average numbers of proposals."""
    videos = sorted({row[0] for row in truth})
    ratio = max_average * len(videos) / len(proposals) if proposals else 0
    kept = {}
    for video in videos:
        mine = [(score, place, segment) for place, (r, segment, score) in enumerate(proposals) if r == video]
        mine.sort(reverse=True)
        kept[video] = [segment for _, _, segment in mine][: min(int(len(mine) * ratio), len(mine))]
    total = sum(map(len, kept.values()))
    recall = [[0.0] * 100 for _ in TIOU]
    for a, threshold in enumerate(TIOU):
        for j in range(100 if total else 0):
            part = (j + 1) / 100.0 * (max_average * len(videos) / total)
            found = 0
            for video, segment, _ in truth:
                counting = kept[video][: min(int(len(kept[video]) * part), len(kept[video]))]
                found += any(overlap(p, segment) >= threshold for p in counting)
            recall[a][j] = found / len(truth)
    return recall


segments = st.tuples(st.integers(0, 8), st.integers(1, 5)).map(lambda x: (x[0], x[0] + x[1]))
truth_rows = st.lists(st.tuples(st.integers(0, 3), segments, st.just(1)), min_size=1, max_size=8)
proposal_rows = st.lists(st.tuples(st.integers(-1, 5), segments, st.sampled_from([0, 1, 2])), max_size=40)


@hypothesis.settings(max_examples=60)
@hypothesis.given(truth_rows, proposal_rows, st.sampled_from([1.0, 3.0, 7.5, 100.0]))
def test_agrees_with_plain_loops(truth, proposals, max_average):
    result = evaluate_proposals(table(truth), table(proposals), TIOU, max_average)
    expected = np.array(reference(truth, proposals, max_average))
    np.testing.assert_allclose(result.recall, expected, rtol=0, atol=1e-12)
    numbers = np.arange(1, 101) * max_average / 100
    np.testing.assert_allclose(result.numbers, numbers)
    curve = expected.mean(axis=0)
    area = sum((curve[i] + curve[i + 1]) / 2 * (numbers[i + 1] - numbers[i]) for i in range(99))
    assert result.auc == pytest.approx(area / max_average)


def test_recordings_with_more_proposals_get_more_of_the_budget():
    """One recording with 300 proposals, one with 100: at 100 on average they keep 150 and 50."""
    rows = [(0, (i, i + 1), -i) for i in range(300)] + [(1, (i, i + 1), -i) for i in range(100)]
    for last, recall in ((149, 1.0), (150, 0.5)):
        result = evaluate_proposals(table([(0, (last, last + 1), 1), (1, (49, 50), 1)]), table(rows), (0.5,))
        assert result.average_recall[-1] == recall


def test_perfect_first_proposals_reach_all_of_the_area():
    truth = [(v, (0, 10), 1) for v in range(5)]
    rows = [(v, (0, 10), 2) for v in range(5)] + [(v, (20 + i, 30 + i), 1) for v in range(5) for i in range(99)]
    result = evaluate_proposals(table(truth), table(rows))
    assert result.average_recall.tolist() == [1.0] * 100
    assert result.auc == pytest.approx(0.99)  # from 1 to 100 proposals, over 100


def test_no_truth_is_an_error():
    with pytest.raises(InputError, match="ground truth"):
        evaluate_proposals(table([]), table([(0, (0, 1), 1)]))
