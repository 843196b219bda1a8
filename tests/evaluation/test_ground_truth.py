"""Which detections count, and the account of those that do not."""

import pytest

from tal_jax.data.annotations import Instance, Recording
from tal_jax.errors import InputError
from tal_jax.evaluation import ground_truth as selection
from tal_jax.evaluation import table
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import segment_table


def recording(key, subset, *instances):
    return Recording(key, subset, 100.0, tuple(Instance(*i) for i in instances))


RECORDINGS = {
    r.id: r
    for r in (
        recording("v1", "validation", (0, 10, "run"), (20, 30, "jump")),
        recording("v2", "validation", (0, 10, "run")),
        recording("v3", "validation", (0, 10, "run"), (5, 5, "run")),
        recording("quiet", "validation"),
        recording("t1", "training", (0, 10, "swim")),
        recording("x1", "testing"),
    )
}


def submission(*rows, recordings=None):
    """Rows of (recording, label or None, start, end, score)."""
    ids = recordings or tuple(dict.fromkeys(row[0] for row in rows))
    labels = tuple(dict.fromkeys(row[1] for row in rows if row[1]))
    return Submission(
        ids,
        labels,
        segment_table(
            [ids.index(row[0]) for row in rows],
            [labels.index(row[1]) if row[1] else -1 for row in rows],
            [row[2:4] for row in rows],
            [row[4] for row in rows],
        ),
    )


def average(chosen, tiou=(0.5,)):
    return evaluate_detections(chosen.truth, chosen.detections, chosen.labels, tiou).average


def test_joins_by_id_and_accounts_for_the_rest():
    found = submission(
        ("t1", "swim", 0, 10, 0.9),
        ("v2", "run", 0, 10, 0.8),
        ("v1", "walk", 0, 10, 0.7),
        ("v1", "jump", 20, 30, 0.6),
        ("elsewhere", "run", 0, 10, 0.95),
        ("quiet", "run", 3, 3, 0.1),
    )
    chosen = selection.select(RECORDINGS, found, "val")
    assert chosen.recordings == ("v1", "v2", "v3", "quiet")
    assert chosen.labels == ("jump", "run")
    assert chosen.truth.label.tolist() == [1, 0, 1, 1, 1]
    assert chosen.detections.recording.tolist() == [1, 0, 0, -1, 3]
    assert chosen.detections.label.tolist() == [1, -1, 0, 1, 1]
    assert (chosen.missing, chosen.ignored, chosen.unknown) == (("v3",), ("t1",), ("elsewhere",))
    assert chosen.unknown_labels == {"walk": 1}
    assert (chosen.degenerate_truth, chosen.degenerate_detections) == (1, 1)
    # jump: found. run: a false positive, then one of four segments, at a precision of 1/2.
    assert average(chosen) == pytest.approx((1 + 0.25 * 0.5) / 2)
    text = "\n".join(table.account(chosen))
    for line in (
        "4 recordings, 5 segments, 2 classes, 5 detections",
        "missing: 1 recording (v3) not in the detections: their segments count as misses",
        "ignored: 1 recording (t1) of another subset",
        "unknown: 1 recording (elsewhere) not in the ground truth: their detections are false positives",
        "unknown: 1 label (walk) not in the ground truth of the subset: 1 detections match nothing",
        "1 annotated segments without positive length count as misses",
    ):
        assert line in text


def test_blocked_recordings_leave_truth_and_detections():
    found = submission(
        ("v1", "run", 0, 10, 0.8), ("v2", "run", 50, 60, 0.9), ("gone", "run", 50, 60, 0.9), ("t1", "run", 0, 9, 1)
    )
    chosen = selection.select(RECORDINGS, found, "validation", {"v2", "v3", "gone", "t1"})
    assert chosen.recordings == ("v1", "quiet")
    assert chosen.blocked == ("v2", "v3")
    assert chosen.missing == chosen.unknown == chosen.ignored == ()
    assert len(chosen.detections) == 1
    assert average(chosen) == 0.5  # run 1, jump 0
    assert "blocked: 2 recordings (v2, v3) left out" in table.account(chosen)


def test_blocked_lists_need_not_write_ids_as_the_annotations_do():
    found = submission(("v1", "run", 0, 10, 0.8), ("elsewhere", "run", 50, 60, 0.9))
    chosen = selection.select(RECORDINGS, found, "validation", ("v2.mp4", "v_v3", "elsewhere.npy", "quite"))
    assert (chosen.blocked, chosen.unknown) == (("v2", "v3"), ())
    assert chosen.unmatched == ("quite: did you mean 'quiet'?",)
    assert "blocked: 1 id (quite: did you mean 'quiet'?) of no recording" in table.account(chosen)
    with pytest.raises(InputError, match=r"--blocked: none of its 1 ids is a recording .*did you mean 'quiet'"):
        selection.select(RECORDINGS, found, "validation", ("quite",))


def test_a_recording_listed_without_detections_is_not_missing():
    found = submission(("v1", "run", 0, 10, 1.0), recordings=("v1", "v2", "v3"))
    assert selection.select(RECORDINGS, found, "validation").missing == ()


def test_no_detections_at_all_are_misses():
    chosen = selection.select(RECORDINGS, submission(), "validation")
    assert chosen.missing == ("v1", "v2", "v3")
    assert average(chosen) == 0


@pytest.mark.parametrize(
    ("subset", "says"),
    [
        ("test", "none of its 1 recordings has a segment"),
        ("nonsense", r"has testing \(1 recordings\), training \(1 recordings\), validation \(4 recordings\)"),
    ],
)
def test_a_subset_without_anything_to_find(subset, says):
    with pytest.raises(InputError, match=says):
        selection.select(RECORDINGS, submission(), subset)


def test_ids_that_never_meet_are_an_error_with_an_example_of_both():
    with pytest.raises(InputError, match=r"none of the 1 recordings.*'1'.*'v1'"):
        selection.select(RECORDINGS, submission(("1", "run", 0, 10, 1.0)), "validation")


def test_names_from_files_cannot_break_lines():
    found = submission(("v1", "a\nb", 0, 10, 1.0), *((f"y{i}", "run", 0, 1, 1.0) for i in range(9)))
    lines = table.account(selection.select(RECORDINGS, found, "validation"))
    assert not any("\n" in line for line in lines)
    assert any("9 recordings (y0, y1, y2, y3, y4, ..)" in line for line in lines)


def test_blocked_lists_as_text_and_as_json(tmp_path):
    path = tmp_path / "blocked"
    path.write_text("# damaged\nv1\n\n v2  # cut short\n")
    assert selection.read_blocked(path) == {"v1", "v2"}
    path.write_text('["v1", "v2"]')
    assert selection.read_blocked(path) == {"v1", "v2"}
    for bad in ('{"v1": 1}', "[1]", "[", b"\xff\xfe"):
        path.write_bytes(bad if isinstance(bad, bytes) else bad.encode())
        with pytest.raises(InputError, match=str(path)):
            selection.read_blocked(path)
    with pytest.raises(InputError, match="cannot be read"):
        selection.read_blocked(tmp_path / "none")


LABELS_ALONE = {
    r.id: r
    for r in (
        recording("v1", "validation", (0, 10, "run")),
        recording("v2", "validation", (0, 10, "jump")),
        Recording("bare", "validation", 100.0, (), ("run",)),
        Recording("partly", "validation", 100.0, (Instance(0, 10, "run"),), ("jump", "swim")),
    )
}


def test_detections_where_only_a_label_is_known_are_neither_right_nor_wrong():
    found = submission(
        ("bare", "run", 0, 10, 0.99),  # left out, with the recording
        ("bare", "jump", 0, 10, 0.98),
        ("partly", "jump", 0, 10, 0.97),  # left out: a jump is somewhere in it
        ("partly", "swim", 0, 10, 0.96),
        ("v1", "run", 0, 10, 0.9),
        ("v2", "jump", 0, 10, 0.8),
        ("partly", "run", 50, 60, 0.7),  # a false positive: its runs are known
        ("partly", "run", 0, 10, 0.6),
    )
    chosen = selection.select(LABELS_ALONE, found, "validation")
    assert chosen.recordings == ("v1", "v2", "partly")
    assert (chosen.untimed, chosen.untimed_labels) == (("bare",), 2)
    assert chosen.rows.tolist() == [4, 5, 6, 7]
    assert chosen.unknown_labels == {}
    # jump: found. run: precision 1 up to a recall of 1/2, then 2/3.
    assert average(chosen) == pytest.approx((1 + (1 / 2 + 1 / 2 * 2 / 3)) / 2)
    account = table.account(chosen)
    assert account[0] == "3 recordings, 3 segments, 2 classes, 4 detections"
    assert "labels alone: 1 recording (bare) left out: nobody knows where their actions are" in account
    assert "labels alone: 2 detections left out, of classes that their recording has somewhere" in account


def test_labels_alone_are_no_recordings_of_others_and_nothing_to_evaluate_by_themselves():
    found = submission(("v1", "run", 0, 10, 0.9), ("bare", "run", 0, 10, 0.99))
    blocked = selection.select(LABELS_ALONE, found, "validation", ["bare"])
    assert (blocked.blocked, blocked.untimed) == (("bare",), ())
    alone = {"bare": LABELS_ALONE["bare"]}
    with pytest.raises(InputError, match="none of its 1 recordings has a segment, 1 of them with labels alone"):
        selection.select(alone, found, "validation")
