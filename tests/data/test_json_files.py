"""JSON files: keys that are there twice, what cannot be read or written, and how long many keys take."""

import json
import os
import time

import pytest

from tal_jax.data import annotations, json_files
from tal_jax.data.json_files import read_json, write_json
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files


def seconds(call, *arguments):
    begin = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begin


def with_twice(keys, twice, value="[]"):
    """An object with so many keys, of which one is there again at the end."""
    return "{" + ", ".join(f'"v{i}": {value}' for i in [*range(keys), twice]) + "}"


def test_a_key_that_is_there_twice_is_named_at_once(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(with_twice(60_000, 59_990))

    def refused(read):
        with pytest.raises(InputError, match=r"a\.json: 'v59990' appears twice in one object"):
            read(path)

    assert seconds(refused, read_json) < 1
    path.write_text(f'{{"results": {with_twice(60_000, 59_990)}}}')
    assert seconds(refused, detection_files.read) < 1
    path.write_text(f'{{"database": {with_twice(60_000, 59_990, "{}")}}}')
    assert seconds(refused, annotations.read) < 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": {"b": 1, "c": 2, "b": 1}}', "'b' appears twice"),
        ('[{"a": 1}, {"a": 1, "a": 1}]', "'a' appears twice"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
    ],
)
def test_what_is_refused(tmp_path, text, says):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=says) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_depth_is_bounded(tmp_path):
    """json takes 900 levels, and the message that prints such a value ended in a RecursionError."""
    path = tmp_path / "a.json"
    for levels in (51, 52, 300, 900):
        for text in ("[" * levels + "]" * levels, '{"a": ' * levels + "1" + "}" * levels):
            path.write_text(text)
            if levels == 51:
                read_json(path)
                continue
            with pytest.raises(InputError, match=r"more than 50 brackets") as error:
                read_json(path)
            assert len(str(error.value)) < 300
    path.write_text('{"database": {"r": ' + "[" * 900 + "]" * 900 + "}}")
    with pytest.raises(InputError, match=r"more than 50 brackets"):
        annotations.read(path)


def test_size_is_bounded(tmp_path, monkeypatch):
    """A device without an end is read no further than a file may have bytes."""
    monkeypatch.setattr(json_files, "MAX_BYTES", 100_000)
    with pytest.raises(InputError, match="more than 100000 bytes"):
        read_json("/dev/zero")
    path = tmp_path / "a.json"
    path.write_text("[" + "1," * 100_000 + "1]")
    with pytest.raises(InputError, match="more than 100000 bytes"):
        read_json(path)
    path.write_text("{" + f'"{"k" * 1000}": 1, "{"k" * 1000}": 2' + "}")
    with pytest.raises(InputError, match="appears twice") as error:
        read_json(path)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"跳": 1}'.encode(encoding))
    assert read_json(tmp_path / "a.json") == {"跳": 1}


def test_the_same_key_in_different_objects_is_none_twice(tmp_path):
    content = {"a": {"a": [{"a": 1}, {"a": 2}]}, "é": None}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / "none" / "r.json", {})
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path, {})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["r.json"]
