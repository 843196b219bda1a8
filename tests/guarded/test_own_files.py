"""The project's own small files after a crash, or an editor: one line that names the file, whatever they hold."""

import json

import numpy as np
import pytest

from tal_jax.errors import InputError
from tal_jax.guarded import own_files

DAMAGES = {
    "empty": b"", "zeros": bytes(64), "cut": b'{"a": 1', "zeros at the end": b'{"a": 1}' + bytes(8),
    "not UTF-8": b'{"a": "\xff"}', "UTF-16": '{"a": 1}'.encode("utf-16"), "a list": b"[1]", "null": b"null",
    "text": b'"a"', "deep": b"[" * 100_000, "nested": b'{"a":' * 40 + b"1" + b"}" * 40, "twice": b'{"a": 1, "a": 2}',
}  # fmt: skip


def one_line(error, path):
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).endswith(": do so")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_an_object_that_is_none(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        own_files.read_object(path, "do so")
    one_line(error, path)


def test_an_object_that_is_one(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"ä": ["日本"]}))
    assert own_files.read_object(tmp_path / "x.json", "") == {"ä": ["日本"]}


@pytest.mark.parametrize("content", [b"", b"PK", bytes(64), b"\x93NUMPY"])
def test_arrays_that_are_none(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    for names in (["a"], None):
        with pytest.raises(InputError) as error:
            own_files.read_arrays(path, names, "do so")
        one_line(error, path)


def test_arrays(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(3), b=np.ones(2))
    assert set(own_files.read_arrays(path, ["a"], "")) == {"a"}
    assert set(own_files.read_arrays(path, None, "")) == {"a", "b"}
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(InputError):  # nothing is unpickled
        own_files.read_arrays(path, None, "do so")


@pytest.mark.parametrize(
    "name",
    ["bmn", "two words", " x", "café", "cafe\u0301", "Übung", "日本語", "تدریب", "פעולה", "می\u200cروم", "🏃",
     "👩\u200d🚀", "a\u00a0b", "x.y", "..x", "-x", "'", "%2e"],
)  # fmt: skip
def test_names_that_people_have(tmp_path, name):
    assert own_files.is_plain_name(name)
    (tmp_path / name).mkdir()
    assert (tmp_path / name).parent == tmp_path


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/a", "a\\b", " ", "a\n", "a\x00", "\x1b[2J", "a\u200f", "\u202ea", "\u2066a", "\ufeffa",
     "a\u200b", "\udc80", 3, None, ["a"]],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_cannot_be_read(name):
    assert not own_files.is_plain_name(name)
