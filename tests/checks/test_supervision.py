"""What can be learned from a set, and how a user insists."""

import pytest

from tal_jax.checks.doubts import Doubt, check_accepted, settle
from tal_jax.checks.supervision import doubts, near_equal, notes
from tal_jax.data.annotations import Instance, Note, Recording
from tal_jax.errors import InputError


def recording(id, subset="training", segments=0, labels=(), untimed=()):
    return Recording(id, subset, 9.0, (Instance(1, 2, "a"),) * segments, labels, untimed=untimed)


def reasons(*recordings):
    return [doubt.reason for doubt in doubts("a.json", {r.id: r for r in recordings})]


def test_a_set_without_segments_is_doubted_unless_it_is_there_to_be_detected_in():
    assert reasons(recording("r", labels=("a",))) == ["no_segments"]
    assert reasons(recording("r", labels=("a",)), recording("v", "validation", 1)) == ["no_segments"]
    assert reasons(recording("r")) == ["no_segments"]
    assert reasons(recording("v", "validation", labels=("a",))) == ["no_segments"]
    assert reasons(recording("v", "testing")) == []
    assert reasons(recording("r", segments=1), recording("s", labels=("b",)), recording("t", "testing")) == []


def test_annotations_without_usable_times_are_doubted():
    (doubt,) = doubts("a.json", {"r": recording("r", segments=1, untimed=("start 'x' is no number",))})
    assert doubt.reason == "untimed"
    assert "a.json: 1 annotation without usable times, of r: start 'x' is no number" in doubt.text


def test_what_has_no_segment_is_told():
    found = notes([recording("r", segments=1, labels=("b",)), recording("s"), recording("v", "validation")])
    assert found == [Note("labels only", "r", "b"), Note("background", "s", "no annotation")]


@pytest.mark.parametrize(
    "group",
    [
        ("jump", "jump "),
        ("Jump", "jump"),
        ("caf\u00e9", "cafe\u0301"),
        ("high jump", "high_jump", "HighJump"),
        ("a\u200cb", "ab"),
        ("stra\u00dfe", "strasse"),
        ("a  b", "a\u00a0b"),
    ],
)
def test_labels_that_people_take_for_one_are_told(group):
    (note,) = near_equal([*group, "run", "C", "C++"])
    assert note.kind == "near-equal labels"
    assert note.text.endswith("are different classes")
    assert note.text.isascii() or note.text.isprintable()
    assert len({text for text in note.text.removesuffix(" are different classes").split(" and ")}) == len(group)


def test_a_user_insists_by_name():
    found = [Doubt("durations", "one"), Doubt("segments", "two")]
    with pytest.raises(InputError, match=r"^one \(or insist with --accept=durations --accept=segments\)$"):
        settle(found, ())
    with pytest.raises(InputError, match=r"^two \(or insist with --accept=segments\)$"):
        settle(found, ("durations", "untimed"))
    assert settle(found, ("durations", "segments")) == [
        Note("accepted", "durations", "one"),
        Note("accepted", "segments", "two"),
    ]
    with pytest.raises(InputError, match="--accept=duration: no such reason: did you mean 'durations'"):
        check_accepted(["untimed", "duration"])
    with pytest.raises(InputError, match="they are untimed, no_segments"):
        check_accepted(["xyz"])
