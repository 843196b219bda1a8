"""Lists of ids as people write them, and the recordings that they mean."""

import json

import pytest

from tal_jax.data import id_lists
from tal_jax.errors import InputError

KNOWN = ("abcdefghijk", "v_lmnopqrstuv", "s01.walk", "a#1")


def listed(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return id_lists.read(path, "--blocked"), str(path)


@pytest.mark.parametrize(
    ("content", "ids", "unmatched"),
    {
        "plain": ("abcdefghijk\ns01.walk\n", {"abcdefghijk", "s01.walk"}, ()),
        "byte order mark": ("\ufeffabcdefghijk\n", {"abcdefghijk"}, ()),
        "UTF-16, as PowerShell writes it": ("abcdefghijk\r\n".encode("utf-16"), {"abcdefghijk"}, ()),
        "UTF-16, the other order": (b"\xfe\xff" + "abcdefghijk".encode("utf-16-be"), {"abcdefghijk"}, ()),
        "CRLF, blank lines": ("\r\n  abcdefghijk  \r\n\r\n\t\r\ns01.walk", {"abcdefghijk", "s01.walk"}, ()),
        "old Mac": ("abcdefghijk\rs01.walk\r", {"abcdefghijk", "s01.walk"}, ()),
        "v_ too much": ("v_abcdefghijk", {"abcdefghijk"}, ()),
        "v_ missing": ("lmnopqrstuv", {"v_lmnopqrstuv"}, ()),
        "files": ("abcdefghijk.mp4\nvideos/lmnopqrstuv.MKV\nC:\\f\\s01.walk.npy",
                  {"abcdefghijk", "v_lmnopqrstuv", "s01.walk"}, ()),
        "comments": ("# a list\nabcdefghijk # broken\ns01.walk#too", {"abcdefghijk", "s01.walk"}, ()),
        "an id with the comment's sign": ("a#1", {"a#1"}, ()),
        "table": ('video_id,reason\n"abcdefghijk",black\ns01.walk;dark\nv_lmnopqrstuv\tcut',
                  {"abcdefghijk", "s01.walk", "v_lmnopqrstuv"}, ("video_id,reason",)),
        "header": ("Video\nabcdefghijk", {"abcdefghijk"}, ()),
        "JSON": (json.dumps(["v_abcdefghijk", "nobody"]), {"abcdefghijk"}, ("nobody",)),
        "JSON with a mark": ("\ufeff" + json.dumps(["abcdefghijk"]), {"abcdefghijk"}, ()),
        "typing error": ("abcdefghijk\ns01.wakl", {"abcdefghijk"}, ("s01.wakl",)),
    }.values(),
)  # fmt: skip
def test_the_recordings_that_a_list_means(tmp_path, content, ids, unmatched):
    entries, where = listed(tmp_path, content)
    assert id_lists.match_any(entries, [KNOWN], where) == (ids, unmatched)


def test_case_counts():
    """Of YouTube's ids it does: two of them may differ in nothing else."""
    assert id_lists.match(["ABCDEFGHIJK"], KNOWN, "f") == (frozenset(), ("ABCDEFGHIJK",))


def test_the_whole_id_comes_first_and_two_that_are_alike_are_asked_about():
    known = ("abc", "v_abc", "x.mp4", "x.npy")
    assert id_lists.match(["abc", "v_abc"], known, "f").ids == {"abc", "v_abc"}
    with pytest.raises(InputError, match=r"^f: 'x' may mean 'x.mp4' or 'x.npy': write the whole id"):
        id_lists.match(["x"], known, "f")


def test_each_source_writes_ids_in_its_own_way():
    found = id_lists.match_any(["abc", "d", "nobody"], [["v_abc"], ["abc", "v_d"]], "f")
    assert found == ({"v_abc", "abc", "v_d"}, ("nobody",))


def test_a_list_that_means_nothing_is_refused(tmp_path):
    entries, where = listed(tmp_path, "s01.wakl\nother")
    with pytest.raises(InputError, match=rf"^{where}: none of its 2 ids is .*'s01.wakl'; did you mean 's01.walk'\?"):
        id_lists.match_any(entries, [KNOWN], where)
    with pytest.raises(InputError, match="ids look like 'abcdefghijk'"):
        id_lists.match_any(["12"], [KNOWN], where)
    for empty in ("", "\ufeff", "\r\n \n", "# nothing\n", "[]"):
        with pytest.raises(InputError, match="has no id: write one on each line, or leave the list out"):
            listed(tmp_path, empty)


def test_what_cannot_be_read_is_said_in_a_line(tmp_path):
    for content, said in (
        ("{}", "expected a list"), ("[1]", "expected a list"), ("[", "not valid JSON"), (b"\xff\xfea", "not text"),
        (b"caf\xe9", "not text in UTF-8"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said) as error:
            listed(tmp_path, content)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        id_lists.read(tmp_path, "--blocked")


def test_unmatched_ids_are_told_with_the_nearest():
    lines = id_lists.told(["s01.wakl", "\x1b", "c", "d", "e", "f"], KNOWN)
    assert lines[:2] == [("s01.wakl", "did you mean 's01.walk'?"), (r"'\x1b'", "no id is like it")]
    assert lines[5] == ("f", "no such recording")  # many are not all looked for
