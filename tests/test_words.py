"""What a label may be, which are nearly equal, and which name was meant."""

import pytest

from tal_jax import words
from tal_jax.errors import InputError

PERSIAN = "پیاده\u200cروی"  # walking, with a zero-width non-joiner
ASTRONAUT = "👩\u200d🚀"  # three characters, one picture
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize(
    "label",
    ["jump", "jump ", "a b", "跳高", PERSIAN, ASTRONAUT, SCOTLAND, "❤\ufe0f", "e\u0301", "a\u00a0b", "a\u3000b", "<b>",
     "\U0001fae8", "-"],
)  # fmt: skip
def test_text_of_all_scripts_may_be_a_label(label):
    assert words.fault(label) == ""
    assert words.check_label("A.json: r", label) == label
    assert words.shown(label) == label


@pytest.mark.parametrize(
    ("label", "named"),
    [
        ("a\x1b[2J", "U+001B"), ("a\nb", "U+000A"), ("a\tb", "U+0009"), ("a\rb", "U+000D"), ("a\x00", "U+0000"),
        ("a\u2028b", "LINE SEPARATOR"), ("a\x85b", "U+0085"), ("a\u202eb", "RIGHT-TO-LEFT OVERRIDE"),
        ("a\u2066b", "LEFT-TO-RIGHT ISOLATE"), ("a\u200fb", "RIGHT-TO-LEFT MARK"), ("\ufeffa", "U+FEFF"),
        ("a\u200bb", "ZERO WIDTH SPACE"), ("\ud800", "U+D800"), ("a\uffff", "U+FFFF"),
        # The invisible letters of a flag, without the flag or without their end.
        ("a\U000e0067\U000e0062", "U+E0067"), ("\U0001f3f4\U000e0067\U000e0062\U000e0073", "U+E0067"),
        ("", "nothing of it"), ("  ", "nothing of it"), ("\u200c", "nothing of it"), ("\ufe0f", "nothing of it"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_as_one_line_is_refused(label, named):
    with pytest.raises(InputError, match=r"^A.json: r: label .* is not a line of text, ") as error:
        words.check_label("A.json: r", label)
    assert named in str(error.value)
    assert str(error.value).isascii(), "what is refused is not printed as it is"


@pytest.mark.parametrize("label", [None, 3, ["a"]])
def test_a_label_is_text(label):
    with pytest.raises(InputError, match=r"^A.json: r: label .* is not text"):
        words.check_label("A.json: r", label)


def test_names_in_messages_are_escaped_where_nobody_could_read_them():
    assert words.quoted(PERSIAN) == f"'{PERSIAN}'"
    assert words.quoted("a'b") == '"a\'b"'
    assert words.quoted("a\x1b") == r"'a\x1b'" == words.shown("a\x1b")


def test_labels_that_are_probably_one_class():
    labels = ["jump", "run", "Jump", "jump ", "high_jump", "High Jump", "high-jump", "c001", "c002", "jumps"]
    assert words.near_equal(labels) == [("High Jump", "high-jump", "high_jump"), ("Jump", "jump", "jump ")]
    assert words.near_equal(["a\u00a0b", "a b"]) == [("a b", "a\u00a0b")]
    assert words.near_equal(["cafe\u0301", "café"]) == [("cafe\u0301", "café")]
    assert words.near_equal([PERSIAN, PERSIAN.replace("\u200c", "")]) != []
    assert words.near_equal(["\u0645\u064a", "\u0645\u06cc"]) != []  # a yeh of an Arabic keyboard
    assert words.near_equal(["-", "_", "+", "jump", "jump"]) == []
    assert words.near_equal([]) == []


def test_the_name_that_was_meant():
    known = ["training", "validation", "testing"]
    assert words.nearest("validaton", known) == "did you mean 'validation'?"
    assert words.nearest("LONG_JUMP", ["Long jump"]) == "did you mean 'Long jump'?"
    assert words.nearest("zzz", known) == ""
    assert words.hint("zzz", known) == "it has training, validation, testing"
    assert words.hint("zzz", []) == "it has none"
    many = [f"{i:03d}" for i in range(25)]
    assert words.hint("zzz", many, "there are").endswith("018, 019 and 5 more")
    assert words.nearest("y" * 100_000, ["y" * 300, "x"]) != ""  # and in no time
