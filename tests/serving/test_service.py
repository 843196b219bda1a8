"""launch.serve as a process of its own on a real port: answers, batches, bad requests, slow clients, its end."""

import contextlib
import http.client
import io
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.commands import run, until
from support.sensor_set import STRIDE, prepare_set, tiny_config
from support.server import NPY, QUERY, Server

from benchmarks.attack import SHARE, attack
from tal_jax.deploy import load
from tal_jax.deploy.export import export
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    prepare_set(folder)
    config = tiny_config(folder / "data")
    config.track = ("bmn",)
    config.stages.bmn.steps = 1
    train_and_evaluate(config.to_dict(), str(folder / "work"))
    return export(folder / "work", folder / "model")


@pytest.fixture(scope="module")
def server(model):
    with Server(model, "--max_mb=0.3", "--timeout=1") as server:
        yield server
        status, errors = server.end()
    assert status == 0
    assert "Traceback" not in errors


def npy(x, **options):
    file = io.BytesIO()
    np.save(file, x, **options)
    return file.getvalue()


def features(t, seed=0):
    return np.random.default_rng(seed).normal(size=(t, 3)).astype(np.float32)


def closed(opened):
    try:
        return not opened.recv(100)
    except ConnectionResetError:
        return True


def answered(opened):
    """An answer's status and body, in however many parts they come."""
    with contextlib.closing(http.client.HTTPResponse(opened)) as answer:
        answer.begin()
        return answer.status, answer.read().decode()


def same(answer, expected):
    status, found = answer
    assert status == 200, found
    assert len(found["detections"]) == len(expected)
    for a, b in zip(found["detections"], expected, strict=True):
        assert a.get("label") == b.get("label")
        np.testing.assert_allclose([a["score"], *a["segment"]], [b["score"], *b["segment"]], rtol=2e-4, atol=2e-4)


def head(length):
    kind = NPY["content-type"]
    return f"POST {QUERY} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"


def test_answers_are_the_models(server, model):
    direct = load(model)
    x = features(20)
    expected = direct(x, stride=STRIDE)
    assert expected
    for array in (x, np.asfortranarray(x), x.astype(np.float64), x.astype(">f4")):
        same(server.detect(npy(array)), expected)
    half = x.astype(np.float16)
    same(server.detect(npy(half)), direct(half, stride=STRIDE))
    same(server.detect(json.dumps({"features": x.tolist(), "stride": STRIDE}), JSON, "/detect"), expected)
    same(server.detect(json.dumps({"features": {"imu": x.tolist()}}), JSON), expected)
    same(server.detect(npy(x), path=f"{QUERY}&duration=7.5"), direct(x, stride=STRIDE, duration=7.5))
    same(server.detect(npy(x), path=f"{QUERY}&top=3"), expected[:3])
    least = expected[4]["score"]
    same(server.detect(npy(x), path=f"{QUERY}&min_score={least}"), [d for d in expected if d["score"] >= least])


def test_batches_of_many_lengths(server, model):
    direct = load(model)
    (stage,) = direct.stages
    lengths = [3, 5, 7, 11, 20, 24, 24, 6 * stage.framing.snippets, 9, 1, 13, 22]
    arrays = [features(t, seed) for seed, t in enumerate(lengths)]
    with ThreadPoolExecutor(len(arrays)) as pool:
        answers = list(pool.map(lambda x: server.detect(npy(x)), arrays))
    for x, answer in zip(arrays, answers, strict=True):
        same(answer, direct(x, stride=STRIDE))


def test_large_bodies_on_one_connection(server):
    # Larger than one read of the server, and than what it takes of headers.
    body = npy(np.zeros((400, 3), np.float64))
    with contextlib.closing(server.connect()) as connection:
        for _ in range(3):
            connection.request("POST", QUERY, npy(np.zeros((400, 60))), NPY)
            answer = connection.getresponse()
            assert answer.status == 422
            assert "(400, 60)" in answer.read().decode()
            connection.request("POST", QUERY, body, NPY)
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()


def damaged():
    good = npy(features(10))
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 3), }"
    claim = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    objects = npy(np.array([[print, 1]], dtype=object), allow_pickle=True)
    yield "truncated", good[:-5], 400, "truncated"
    yield "header cut", good[:20], 400, "not a .npy"
    yield "objects", objects, 422, "Python objects"
    yield "magic", b"PK\3\4" + good, 400, "not a .npy"
    yield "empty", b"", 400, "not a .npy"
    yield "width", npy(np.zeros((10, 4))), 422, "imu [T, 3]"
    yield "axes", npy(np.zeros((10, 3, 1))), 422, "[T, C]"
    yield "nan", npy(np.full((10, 3), np.nan)), 422, "not finite"
    yield "overflow", npy(np.full((10, 3), 1e300)), 422, "not finite"
    yield "no snippets", npy(np.zeros((0, 3))), 422, "(0, 3)"
    yield "text", npy(np.full((10, 3), "x")), 422, "<U1"
    yield "complex", npy(np.zeros((10, 3), complex)), 422, "complex"
    yield "claims", claim + b"\0" * 12, 400, "12000000000 by the header"
    yield "sizes below zero", npy(np.zeros((10, 3))).replace(b"(10, 3), ", b"(-5,-6), "), 400, "without type"
    yield "no and endless", good.replace(b"(10, 3), }   ", b"(0,10**40), }"), 400, "without type"
    yield "true", good.replace(b"(10, 3), ", b"(True,3), "), 400, "not a .npy"
    yield "long header", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'", 400, "not a .npy"
    yield "snippets", npy(np.zeros((401, 3), np.float16)), 413, "at most 400"


@pytest.mark.parametrize(("body", "status", "word"), [c[1:] for c in damaged()], ids=[c[0] for c in damaged()])
def test_damaged_npy(server, body, status, word):
    found = server.detect(body)
    assert found[0] == status, found
    assert word in found[1]["error"]


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ("{", 400, "not JSON"),
        ("[" * 5000, 400, "not JSON"),
        ("{}", 400, "without features"),
        ('{"features": [[NaN, 1, 2]]}', 400, "not JSON"),
        ('{"features": [[1, 2, 3], [1]]}', 422, "row 1: 1 numbers in a list of 3"),
        ('{"features": [["1", "2", "3"]]}', 422, "not numbers"),
        ('{"features": [[null, 1, 2]]}', 422, "not numbers"),
        ('{"features": [[1, 2]]}', 422, "imu [T, 3]"),
        ('{"features": {"rgb": [[1, 2, 3]]}}', 422, "streams imu"),
        ('{"features": [[1, 2, 3]], "strid": 1}', 400, "no such field"),
        ('{"features": [[1, 2, 3]], "duration": "1"}', 400, "not a number"),
        ('{"features": [[1, 2, 3]], "duration": -1}', 422, "duration -1"),
        ('{"features": [[1, 2, 3]], "class_scores": [1]}', 422, "1 numbers in a list of 2"),
    ],
)
def test_damaged_json(server, body, status, word):
    found = server.detect(body, JSON)
    assert found[0] == status, found
    assert word in found[1]["error"]


@pytest.mark.parametrize(
    ("query", "word"),
    [("strid=1", "no such parameter"), ("stride=x", "not a number"), ("stride=1&stride=2", "twice"), ("top=0", "top")],
)
def test_damaged_query(server, query, word):
    status, found = server.detect(npy(features(4)), path=f"/detect?{query}")
    assert status == 400
    assert word in found["error"]


def test_other_refusals(server):
    body = npy(features(4))
    assert server.detect(body, path="/detect?stride=0")[0] == 422
    assert server.detect(body, {"content-type": "text/plain"})[0] == 415
    assert server.detect(body, NPY | {"content-encoding": "gzip"})[0] == 415
    assert server.detect(body, path="/else")[0] == 404
    assert server.ask("GET", "/detect")[0] == 405


def test_too_large(server):
    with server.socket(head(10**9)) as opened:
        assert answered(opened)[0] == 413
    # Of no stated length: refused on the way.
    chunk = b"10000\r\n" + b"\0" * 65536 + b"\r\n"
    start = head(0).replace("content-length: 0", "transfer-encoding: chunked")
    with server.socket(start, chunk * 5) as opened:
        assert answered(opened)[0] == 413


def test_slow_and_broken_clients(server):
    body = npy(features(20))
    with (
        server.socket(head(len(body)), body[:50]) as slow,
        server.socket("") as silent,
        server.socket("POST /detect HT") as half,
    ):
        for _ in range(5):  # in the middle of the body, and when the answer is due
            server.socket(head(len(body)), body[:100]).close()
            server.socket(head(len(body)), body).close()
        assert server.detect(body)[0] == 200
        status, text = answered(slow)
        assert status == 408
        assert "within 1 s" in text
        assert closed(silent)
        assert answered(half)[0] == 408
    with server.socket("GET / HTTP/1.1\r\n", b"x: " + b"y" * 200_000) as endless:
        status, text = answered(endless)
        assert status == 431
        assert "headers" in text
        with pytest.raises(OSError, match=r"reset|pipe"):  # what still comes is read for two seconds
            until(lambda: endless.sendall(b"y" * 65536), server.process)
    assert server.detect(body)[0] == 200


def test_what_it_tells_of_itself(server):
    assert server.before == 503
    assert server.ask("GET", "/healthz")[0] == 200
    about = json.loads(server.ask("GET", "/")[1])
    assert about["streams"] == {"imu": 3}
    assert about["limits"]["max_mb"] == 0.3
    server.detect(npy(features(4)))
    text = server.ask("GET", "/metrics")[1].decode()
    assert re.search(r'tal_requests_total\{status="200"\} [1-9]', text)
    assert "tal_waiting_recordings 0.0" in text
    assert re.search(r'tal_batch_windows_count\{stage="bmn"\} [1-9]', text)


def test_hostile_requests(server):
    """A share of `python -m benchmarks.serve_hostile`; the bodies are of up to 0.3 MB, the honest ones smaller."""
    friends, foes, same = attack(
        server.process.pid, server.port, width=3, rows=20, count=400, seed=1, connections=8, limit=300_000
    )
    assert friends.odd == []
    assert foes.odd == []
    assert sum(foes.statuses.values()) == 400
    assert foes.peak <= SHARE * friends.peak
    assert max(foes.health) < 5  # of tests, several at a time; alone it is a fifth of a second
    assert same


def test_a_refusal_comes_after_the_answer_to_what_was_right(server):
    """Both are sent at once; the honest one is answered first, and whole."""
    body = npy(features(20))
    with server.socket(head(len(body)), body + b"POST /detect HTTP/1.1\r\n: damaged\r\n\r\n") as opened:
        text = b""
        while part := opened.recv(65536):
            text += part
    first, second = text.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200")
    assert len(json.loads(first.partition(b"\r\n\r\n")[2])["detections"]) > 0
    assert second.startswith(b"400")
    assert json.loads(second.partition(b"\r\n\r\n")[2]) == {"error": "not a request of HTTP/1.1"}


def test_too_many_and_the_end(model):
    # One at a time, each of which waits for company for a second: the rest is told when to come again.
    body = npy(features(20))
    with (
        Server(model, "--max_waiting=2", "--max_batch=4", "--max_delay_ms=1000") as server,
        ThreadPoolExecutor(6) as pool,
    ):
        asked = [pool.submit(server.ask, "POST", QUERY, body) for _ in range(6)]
        answers = [a.result() for a in asked]
        statuses = sorted(status for status, *_ in answers)
        assert statuses == [200, 200, 503, 503, 503, 503]
        assert all(int(headers["retry-after"]) >= 1 for status, _, headers in answers if status == 503)
        accepted = pool.submit(server.ask, "POST", QUERY, body)
        waits = b"tal_waiting_recordings 1.0"
        until(lambda: accepted.done() or waits in server.ask("GET", "/metrics")[1], server.process)
        status, errors = server.end()
        assert accepted.result()[0] == 200
    assert status == 0
    assert "Traceback" not in errors


def test_bad_starts(model, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, word in (
            ((f"--model={tmp_path}",), "not a model"),
            ((f"--model={model}", "--max_batch=3"), "power of two"),
            ((f"--model={model}", "--max_videos=0"), "--max_videos=0"),
            ((f"--model={model}", f"--port={taken.getsockname()[1]}"), "in use"),
        ):
            result = run("serve", *arguments)
            assert result.returncode == 2
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr
            assert word in result.stderr
