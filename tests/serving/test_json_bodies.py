"""JSON bodies of requests: read rightly, in memory that follows the model, whatever they hold."""

import json
import random
import tracemalloc
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from benchmarks.hostile_bodies import JSON, NPY
from tal_jax.serving import json_bodies
from tal_jax.serving.json_bodies import Refused
from tal_jax.serving.requests import npy

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
        ('{"class_scores": [1, 2, 3, 4]}', 422, "4 numbers in a list of 3"),
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


def peak(call, *arguments):
    tracemalloc.start()
    try:
        call(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", JSON)
def test_no_body_takes_more_than_an_honest_one(name):
    """Counted in bytes; a body itself is not among them."""
    row = [round(random.Random(0).uniform(-2, 2), 3) for _ in range(5)]
    honest = bytearray(orjson.dumps({"features": [row] * (SIZE // len(orjson.dumps(row)))}))
    expected = peak(json_bodies.fields, MODEL, honest, 20_000)
    body = bytearray(JSON[name](len(honest))[: len(honest)])  # at the limit; what is cut off is the end

    def refused():
        with pytest.raises(Refused):
            json_bodies.fields(MODEL, body, 20_000)

    peak(refused)  # pytest keeps lines of source
    assert peak(refused) + len(body) <= 1.5 * (expected + len(honest)), name


@pytest.mark.parametrize("name", NPY)
def test_npy_files_that_are_none(name):
    body = bytearray(NPY[name](SIZE))

    def refused():
        with pytest.raises(Refused) as error:
            npy(body)
        assert error.value.status in (400, 422)
        assert "\n" not in str(error.value)

    refused()
    assert peak(refused) < 100_000
