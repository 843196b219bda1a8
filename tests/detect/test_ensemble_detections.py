"""Fusion of detections: the steps by hand, a loop over picks, and what changes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tal_jax.detect.ensemble import of_files
from tal_jax.detect.ensemble_detections import fuse
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission, write
from tal_jax.evaluation.segment_table import segment_table, temporal_iou


def system(rows, recordings=("a", "b"), labels=("x", "y")):
    """Rows (recording, label, start, end, score)."""
    rows = np.array(rows, np.float64).reshape(-1, 5)
    return Submission(recordings, labels, segment_table(rows[:, 0], rows[:, 1], rows[:, 2:4], rows[:, 4]))


def rows_of(fused):
    t = fused.table
    return [
        (fused.recordings[r], fused.labels[k], *segment, score)
        for r, k, segment, score in zip(t.recording, t.label, t.segments.tolist(), t.score.tolist(), strict=True)
    ]


def test_two_systems_by_hand():
    one = system([(0, 0, 0, 10, 0.8), (0, 0, 20, 30, 0.4)])
    other = system([(0, 1, 0, 10, 0.2), (0, 0, 5, 10, 0.1), (1, 0, 3, 4, 0.5)], labels=("y", "x"))
    found = rows_of(fuse([one, other], [0.75, 0.25], sigma=0.5))
    # Recording a: the best are 0.8 and 0.2, their weighted mean 0.65. One: 0.75 x 0.65 x (1, 0.5); other: 0.25 x 0.65 x
    # (1 of x [0, 10], which both found, 0.5 of y). b: the first has nothing there, 0.25 x 0.5 is the height.
    y = 0.25 * 0.65 * 0.5
    expected = [("a", "x", 0, 10, 0.65), ("a", "x", 20, 30, 0.75 * 0.65 * 0.5), ("a", "y", 5, 10, y)]
    expected.append(("b", "y", 3, 4, 0.25 * 0.125))
    for a, b in zip(found, expected, strict=True):
        assert a[:2] == b[:2]
        np.testing.assert_allclose(a[2:], b[2:], rtol=1e-5)


def test_systems_suppress_each_other_not_themselves():
    one = system([(0, 0, 0, 10, 1.0), (0, 0, 0, 8, 0.9)])
    other = system([(0, 0, 1, 10, 1.0)])
    found = rows_of(fuse([one, other], [0.5, 0.5], sigma=0.4))
    scores = {row[2:4]: row[4] for row in found}
    assert scores[0, 10] == pytest.approx(0.5)
    assert scores[0, 8] == pytest.approx(0.45)  # picked before the other's [1, 10], which both suppress
    assert scores[1, 10] == pytest.approx(0.5 * np.exp(-(0.9**2 + 0.7**2) / 0.4), rel=1e-5)


def by_loop(systems, weights, sigma):
    """The three steps as they are described, a pick at a time, for recordings that all systems list."""
    weights = np.array(weights) / np.sum(weights)
    found = []
    for r in range(2):
        own = [s.table.take(s.table.recording == r) for s in systems]
        height = sum(w * t.score.max(initial=0) for w, t in zip(weights, own, strict=True))
        pool = {}
        for n, (w, t) in enumerate(zip(weights, own, strict=True)):
            for k, segment, score in zip(t.label, t.segments, t.score, strict=True):
                key = (int(k), *segment.round(3))
                value, bits = pool.get(key, (0.0, set()))
                pool[key] = (value + w * score / t.score.max() * height, bits | {n})
        while pool:
            best = max(pool, key=lambda key: pool[key][0])
            score, bits = pool.pop(best)
            found.append((r, best, score))
            for key, (value, theirs) in pool.items():
                if key[0] == best[0] and not bits & theirs:
                    iou = temporal_iou(np.array(best[1:]), np.array(key[1:]))
                    pool[key] = (value * np.exp(-(iou**2) / sigma) if iou > 0 else value, theirs)
    return found


def random_system(rng, n=6):
    start = rng.uniform(0, 20, n)
    rows = np.column_stack(
        [rng.integers(0, 2, n), rng.integers(0, 2, n), start, start + rng.uniform(1, 9, n), rng.uniform(0.1, 1, n)]
    )
    rows[:, 2:4] = rows[:, 2:4].round(1)
    _, first = np.unique(rows[:, :4], axis=0, return_index=True)
    return rows[first]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_it_is_the_loop(seed):
    rng = np.random.default_rng(seed)
    first = random_system(rng)
    rows = [first, np.concatenate([first[:2], random_system(rng)]), random_system(rng)]
    rows[1] = rows[1][np.unique(rows[1][:, :4], axis=0, return_index=True)[1]]
    systems, weights = [system(r) for r in rows], rng.uniform(0.1, 1, 3)
    expected = {(r, key): score for r, key, score in by_loop(systems, weights, 0.4)}
    table = fuse(systems, weights, sigma=0.4).table
    found = {
        (int(r), (int(k), *segment.round(3))): score
        for r, k, segment, score in zip(table.recording, table.label, table.segments, table.score, strict=True)
    }
    assert found.keys() == expected.keys()
    for key, score in found.items():
        assert score == pytest.approx(expected[key], rel=1e-4)


@pytest.mark.parametrize("method", ["nms", "voting"])
def test_a_system_with_itself_changes_nothing(method):
    rng = np.random.default_rng(3)
    rows = np.concatenate([random_system(rng, 30), [[0, 0, 1, 2, 0.3], [0, 0, 1, 2, 0.2]]])  # it gives one twice
    one = system(rows)
    for systems, weights in (([one], [3.0]), ([one] * 3, [0.2, 0.5, 0.3])):
        found = fuse(systems, weights, method=method)
        assert found.recordings == one.recordings
        expected = sorted(tuple(row) for row in rows.tolist())
        order = sorted(range(len(rows)), key=lambda i: (found.table.recording[i], found.table.label[i],
                                                        *found.table.segments[i], found.table.score[i]))  # fmt: skip
        t = found.table.take(np.array(order))
        np.testing.assert_allclose(np.column_stack([t.recording, t.label, t.segments, t.score]), expected, rtol=1e-6)


def test_votes_by_hand():
    one = system([(0, 0, 0, 10, 1.0), (0, 0, 1, 10, 0.9), (0, 1, 0, 10, 0.5)])
    other = system([(0, 0, 0, 8, 1.0), (0, 0, 0, 2, 0.5)])
    found = rows_of(fuse([one, other], [0.5, 0.5], method="voting", voting_iou=0.6))
    best = next(row for row in found if row[1] == "x" and row[4] == pytest.approx(0.5))
    # [0, 8] of the other overlaps by 0.8; [1, 10] is its own system's, [0, 2] overlaps too little.
    assert best[3] == pytest.approx((0.5 * 10 + 0.5 * 0.8 * 8) / (0.5 + 0.5 * 0.8))
    assert next(row for row in found if row[1] == "y")[2:4] == (0, 10)


def test_recordings_that_a_system_does_not_list():
    """It has no say there; one that lists them and found nothing has."""
    one = system([(0, 0, 0, 10, 0.8), (1, 0, 0, 5, 0.6)])
    lacking = system([(0, 0, 0, 10, 0.4)], recordings=("a",))
    silent = system([(0, 0, 0, 10, 0.4)])
    assert rows_of(fuse([one, lacking], [0.5, 0.5]))[-1][-1] == pytest.approx(0.6)
    assert rows_of(fuse([one, silent], [0.5, 0.5]))[-1][-1] == pytest.approx(0.5 * 0.3)
    nothing = system([], recordings=("c",))
    assert fuse([one, nothing], [0.5, 0.5]).recordings == ("a", "b", "c")


def test_only_the_best_are_kept():
    rng = np.random.default_rng(0)
    fused = fuse([system(random_system(rng, 30)), system(random_system(rng, 30))], [1, 1], detections=4)
    assert np.bincount(fused.table.recording).tolist() == [4, 4]
    assert (np.diff(fused.table.score[:4]) <= 0).all()


def test_proposals():
    proposals = system([(0, -1, 0, 10, 0.8)], labels=())
    assert fuse([proposals, proposals], [1, 1]).table.label.tolist() == [-1]
    with pytest.raises(InputError, match="proposals of some systems and detections of others"):
        fuse([proposals, system([(0, 0, 0, 10, 0.8)])], [1, 1])


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, np.nan]])
def test_weights_that_are_none(weights):
    one = system([(0, 0, 0, 10, 0.8)])
    with pytest.raises(InputError, match="2 numbers from 0 on"):
        fuse([one, one], weights)
    with pytest.raises(InputError, match="method 'mean'"):
        fuse([one, one], [1, 1], method="mean")


def test_systems_without_any_recording(tmp_path):
    empty = system([], recordings=())
    paths = [tmp_path / "first.json", tmp_path / "second.json"]
    for path in paths:
        write(path, empty)
    with pytest.raises(InputError, match="none of the systems lists a recording"):
        fuse([empty, empty], [1, 1])
    with pytest.raises(InputError, match=r"first\.json, .*second\.json: there are no recordings"):
        of_files(paths, "")
    assert fuse([empty, system([(0, 0, 0, 10, 0.8)])], [1, 1]).recordings == ("a", "b")
    assert len(fuse([system([])] * 2, [1, 1]).table) == 0  # recordings in which nothing was found


def test_fractions_of_one_system_are_refused(tmp_path):
    """As BMN writes them, beside seconds; alone, or where all are short, nobody can tell."""
    rows = np.array([(0, 0, 0, 10, 0.8), (0, 0, 20, 30, 0.4), (0, 1, 5, 9, 0.3), (1, 0, 3, 4, 0.5), (1, 1, 7, 40, 0.1)])
    shares = rows * (1, 1, 1 / 40, 1 / 40, 1)
    write(tmp_path / "seconds.json", system(rows))
    write(tmp_path / "shares.json", system(shares))
    paths = [tmp_path / "seconds.json", tmp_path / "shares.json"]
    for given_paths in (paths, paths[::-1]):
        with pytest.raises(InputError, match=r"^\S*shares\.json: every segment ends by 1\.01, in .* multiply them by"):
            of_files(given_paths)
    of_files([paths[1], paths[1]], say=lambda text: None)
    of_files([paths[0], paths[0]], say=lambda text: None)
