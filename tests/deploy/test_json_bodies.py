"""JSON bodies of requests: read rightly, in memory that follows the model, whatever they hold."""

import json
import random
import tracemalloc
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from tal_jax.deploy import json_bodies
from tal_jax.deploy.json_bodies import Refused

MODEL = SimpleNamespace(channels=5, streams={"imu": 3, "baro": 2}, labels=("run", "sit", "跳"))
SIZE = 100_000  # bytes of a body that shall take much


def read(body, snippets=20_000):
    return json_bodies.fields(MODEL, bytearray(body if isinstance(body, bytes) else body.encode()), snippets)


def refusal(body, snippets=20_000):
    with pytest.raises(Refused) as error:
        read(body, snippets)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300
    assert 400 <= error.value.status < 500
    return error.value.status, str(error.value)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii", [True, False])
def test_what_a_request_says(indent, ascii):
    rng = np.random.default_rng(0)
    imu, baro = rng.normal(size=(7, 3)), rng.normal(0, 1e-30, (7, 2))
    given = {
        "class_scores": {"跳": 0.25, "run": 1},
        "features": {"baro": baro.tolist(), "imu": imu.tolist()},
        "stride": 0.5,
        "proposals": {"scores": [1, 0.5], "segments": [[0, 1.5], [2, 3e0]]},
        "duration": None,
    }
    found = read(json.dumps(given, indent=indent, ensure_ascii=ascii))
    assert found.keys() == given.keys() - {"duration"}
    np.testing.assert_array_equal(found["features"][0], imu.astype(np.float32), strict=True)
    np.testing.assert_array_equal(found["features"][1], baro.astype(np.float32), strict=True)
    np.testing.assert_array_equal(found["class_scores"], np.array([1, 0, 0.25], np.float32), strict=True)
    np.testing.assert_array_equal(found["proposals"][0], [[0.0, 1.5], [2.0, 3.0]], strict=True)
    np.testing.assert_array_equal(found["proposals"][1], np.array([1, 0.5], np.float32), strict=True)
    assert found["stride"] == 0.5


def test_features_as_one_array_and_class_scores_as_a_list():
    found = read(
        '\n{"features" : [ [1, -2, 3.5, 1e2, 18446744073709551615] , [0, 0, 0, 0, 0]], "class_scores": [0, 1, 0]} '
    )
    np.testing.assert_array_equal(found["features"][0], np.array([[1, -2, 3.5, 100, 2.0**64], [0] * 5], np.float32))
    np.testing.assert_array_equal(found["class_scores"], [0, 1, 0])


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ("", 400, "not JSON"),
        ("[]", 400, "not JSON"),
        ('"features"', 400, "not JSON"),
        ('{"features": [[4, 5, 1, 2, 3]]', 400, "not JSON"),
        ('{"features": [[4, 5, 1, 2, 3]]}}', 400, "more after its end"),
        ('{"features": [[4, 5, 1, 2, 3]],}', 400, "no name"),
        ('{"features": [[4, 5, 1, 2, 3],]}', 422, "not numbers"),
        ('{"features": [[1, 2, 3, 4,]]}', 400, "not JSON"),
        ('{"features": [[4, 5, 1, 2 3, 1]]}', 400, "not JSON"),
        ('{"features": [[4, 5, 01, 2, 3]]}', 400, "not JSON"),
        ('{"features": [[4, 5, 0x1, 2, 3]]}', 400, "not JSON"),
        ('{"features": [[4, 5, NaN, 2, 3]]}', 400, "not JSON"),
        ('{"features": [[4, 5, 1, Infinity, 3]]}', 400, "not JSON"),
        ('{"features": [[4, 5, 1, 2, 1e400]]}', 4, ""),
        ('{"features": [[4, 5, 1, 2, 1e39]]}', 422, "not finite"),
        ('{"features": [[4, 5, 1, 2, -1e300]]}', 422, "not finite"),
        ('{"features": [[4, 5, 1, 2, true]]}', 422, "not numbers"),
        ('{"features": [[4, 5, 1, 2, null]]}', 422, "not numbers"),
        ('{"features": [[4, 5, 1, 2, "3"]]}', 422, "not numbers"),
        ('{"features": [[1, 2, [3]]]}', 422, "not numbers"),
        ('{"features": [[1, 2, {"a": 1}]]}', 422, "not numbers"),
        ('{"features": [["]"]]}', 422, "not numbers"),
        ('{"features": [[]]}', 422, "row 0"),
        ('{"features": []}', 422, "not numbers"),
        ('{"features": [1, 2, 3]}', 422, "not numbers"),
        ('{"features": 1}', 422, "not numbers"),
        ('{"features": "x"}', 422, "not numbers"),
        ('{"features": [[1, 2, 3, 4, 5], [1]]}', 422, "row 1: 1 numbers in a list of 5"),
        ('{"features": [[1, 2, 3, 4, 5, 6]]}', 422, "row 0: 6 numbers in a list of 5"),
        ('{"features": {"imu": [[1, 2, 3]]}}', 422, "streams imu, baro"),
        ('{"features": {"rgb": [[4, 5, 1, 2, 3]]}}', 422, "streams imu, baro"),
        ('{"features": {"imu": [[1, 2, 3]], "imu": [[1, 2, 3]]}}', 400, "twice"),
        ('{"stride": 1, "stride": 1}', 400, "twice"),
        (r'{"stride": 1, "str\u0069de": 2}', 400, "twice"),
        ('{"strid": 1}', 400, "no such field"),
        ('{"a\nb": 1}', 400, "no name"),
        (r'{"\ud800": 1}', 400, "no name"),
        (b'{"\xff": 1}', 400, "no name"),
        ('{"' + "x" * 5000 + '": 1}', 400, "no name"),
        ('{"stride": "1"}', 400, "not a number"),
        ('{"stride": true}', 400, "not a number"),
        ('{"stride": NaN}', 400, "not a number"),
        ('{"stride": -}', 400, "not a number"),
        ('{"stride": nullx}', 400, "not JSON"),
        ('{"stride": ' + "9" * 5000 + "}", 400, "not JSON"),
        ('{"class_scores": {"fly": 1}}', 422, "no label"),
        ('{"class_scores": {"run": 1, "run": 1}}', 400, "twice"),
        ('{"class_scores": {"run": 1e99}}', 422, "not finite"),
        ('{"class_scores": [1, 2, 3, 4]}', 422, "4 numbers in a list of 1 to 3"),
        ('{"class_scores": "run"}', 422, "not numbers"),
        ('{"proposals": [[0, 1]]}', 400, "proposals: send"),
        ('{"proposals": {"segments": [[0, 1]]}}', 400, "proposals: send"),
        ('{"proposals": {"segments": [[0, 1]], "scores": [1], "more": 1}}', 400, "proposals: send"),
        ('{"proposals": {"segments": [[0, 1, 2]], "scores": [1]}}', 422, "list of 2"),
        ('{"proposals": {"segments": [[1, 1]], "scores": [1]}}', 422, "start < end"),
        ('{"proposals": {"segments": [[0, 1]], "scores": [1, 2]}}', 422, "[P, 2]"),
        ('{"features": null}', 400, "without features"),
        (b"\xef\xbb\xbf" + b'{"features": [[1, 2]]}', 400, "not JSON"),
        ('{"features": [[1, 2]]}'.encode("utf-16"), 400, "not JSON"),
        ('{"features": [[1, 2]]}'.encode("utf-16-be"), 400, "not JSON"),
        ('{"features": [[1, 2]]}'.encode("utf-32"), 400, "not JSON"),
        (b"\0" * 100, 400, "not JSON"),
    ],
)  # fmt: skip
def test_what_is_refused(body, status, word):
    found = refusal(body)
    assert found[0] in ((400, 422) if status == 4 else (status,)), found
    assert word in found[1]


def test_more_rows_than_are_taken():
    body = '{"features": [' + ",".join(["[1,2,3,4,5]"] * 11) + "]}"
    assert refusal(body, 10) == (
        413,
        "features of imu [T, 3], baro [T, 2]: more than 10 rows: at most 10 in one request",
    )
    assert read(body, 11)["features"][0].shape == (11, 5)


def bombs(size=SIZE):
    """Texts of so many bytes, by name, whose values would take many times as many."""
    rows = lambda row: b'{"features": [' + row * (size // len(row)) + b"[1]]}"  # noqa: E731
    filled = lambda start, unit, end=b"": start + unit * ((size - len(start)) // len(unit)) + end  # noqa: E731
    short = b",".join([b'"ab"'] * (size // 6))
    yield "short strings and a long one", b'{"features": [[' + short + b',"' + b"x" * (size // 5) + b'"]]}'
    yield "rows of strings", rows(b'["a","b"],')
    yield "empty lists", rows(b"[],")
    yield "empty lists in a row", filled(b'{"features": [[', b"[],", b"1]]}")
    yield "empty objects", filled(b'{"features": [', b"{},", b"1]}")
    yield "open lists", filled(b"", b"[")
    yield "open lists in features", filled(b'{"features":', b"[")
    yield "lists opened and closed", filled(b'{"features":', b"[", b"1") + b"]" * size + b"}"
    yield "open objects", filled(b"", b'{"a":')
    yield "open objects in features", filled(b'{"features":', b'{"imu":')
    yield "closed lists", filled(b'{"features": [[1]', b"]")
    yield "one row of numbers", filled(b'{"features": [[', b"257,", b"1]]}")
    yield "rows of one number", rows(b"[1],")
    yield "rows of one number of a wide first", filled(b'{"features": [[1,2,3,4,5]', b",[1]", b"]}")
    yield "one number", filled(b'{"features": [[', b"1", b"]]}")
    yield "one number in a field", filled(b'{"stride": ', b"1", b"}")
    yield "one fraction", filled(b'{"features": [[0.', b"1", b"]]}")
    yield "one exponent", filled(b'{"features": [[1e', b"1", b"]]}")
    yield "one string", filled(b'{"features": "', "跳".encode(), b'"}')
    yield "one string of a row", filled(b'{"features": [["\xf0\x9f\x98\x80', b"x", b'"]]}')
    yield "one name", filled(b'{"', b"x", b'":1}')
    yield "backslashes", filled(b'{"', b"\\\\", b'":1}')
    yield "many names", b"{" + b",".join(b'"%x":1' % i for i in range(size // 10)) + b"}"
    yield "one name many times", filled(b"{", b'"stride":1,', b'"duration":1}')
    yield "many labels", b'{"class_scores": {' + b",".join(b'"%x":1' % i for i in range(size // 10)) + b"}}"
    yield "many scores", filled(b'{"class_scores": [', b"1,", b"1]}")
    yield "segments that are lists", filled(b'{"proposals": {"segments": [', b"[[]],", b"[]]}}")
    yield "segments that are short", filled(b'{"proposals": {"segments": [', b"[0],", b"[0,1]]}}")
    yield "blanks", filled(b"", b" ")
    yield "blanks in a row", filled(b'{"features": [[', b" \n", b"]]}")
    yield "blanks between rows", filled(b'{"features": [[1,2]', b"\t", b"[1,2]]}")
    yield "commas", filled(b'{"features": [[', b",", b"]]}")
    yield "constants", filled(b'{"features": [[', b"true,", b"null]]}")
    yield "minus signs", filled(b'{"features": [[', b"-", b"1]]}")
    yield "zeros", filled(b"", b"\0")
    yield "UTF-16", json.dumps({"features": [[1.5] * 5] * (size // 60)}).encode("utf-16")


def peak(call, *arguments):
    tracemalloc.start()
    try:
        call(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "body"), [*bombs()], ids=[name for name, _ in bombs(1000)])
def test_no_body_takes_more_than_an_honest_one(name, body):
    """Counted in bytes; a body itself is not among them."""
    row = [round(random.Random(0).uniform(-2, 2), 3) for _ in range(5)]
    honest = bytearray(orjson.dumps({"features": [row] * (SIZE // len(orjson.dumps(row)))}))
    expected = peak(json_bodies.fields, MODEL, honest, 20_000)
    body = bytearray(body[: len(honest)])  # at the limit; what is cut off is the end

    def refused():
        with pytest.raises(Refused):
            json_bodies.fields(MODEL, body, 20_000)

    peak(refused)  # pytest keeps lines of source
    assert peak(refused) + len(body) <= 1.5 * (expected + len(honest)), name
