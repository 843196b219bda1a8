"""What the service makes of errors, called as an application, without a network or a process of its own."""

import asyncio
import dataclasses
import json

import numpy as np
import pytest
from support.oracle import model_of

from tal_jax.errors import InputError
from tal_jax.serving.limits import Limits
from tal_jax.serving.service import Service
from tal_jax.windows import Framing

HEADERS = {"content-type": "application/json"}
BODY = json.dumps({"features": [[1.0, 0.0]] * 20, "stride": 0.5}).encode()


def answers(service, *requests):
    """Status and body of each of (headers, parts of the body), all asked at once."""

    async def ask(headers, parts):
        left, sent = list(parts), []

        async def receive():
            if not left:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

        async def send(message):
            sent.append(message)

        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {
            "type": "http", "method": "POST", "path": "/detect", "query_string": b"", "headers": pairs, "root_path": "",
            "http_version": "1.1", "scheme": "http", "client": None, "server": None,
        }  # fmt: skip
        await service.app(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    async def all_of_them():
        return await asyncio.gather(*(ask(headers, parts) for headers, parts in requests))

    return asyncio.run(all_of_them())


@pytest.fixture
def started():
    """Makes services of a model that predicts as it is told."""
    made = []

    def start(predict=None, **limits):
        model = model_of(Framing("window", 32))
        if predict is not None:
            model.stages = (dataclasses.replace(model.stages[0], predict=predict),)
        service = Service(model, limits=Limits(**limits), max_batch=1, max_delay=0.0)
        service.batcher.start()
        service.ready = True
        made.append(service)
        return service

    yield start
    for service in made:
        service.batcher.close()


def test_an_input_that_the_model_cannot_take_is_422(started):
    def predict(inputs):
        raise InputError("record of the request: the model's output is not finite: scale the features")

    ((status, said),) = answers(started(predict), (HEADERS, [BODY]))
    assert status == 422
    assert said == {"error": "record of the request: the model's output is not finite: scale the features"}


def test_a_body_in_single_bytes_is_read(started):
    ((status, said),) = answers(started(), (HEADERS, [BODY[i : i + 1] for i in range(len(BODY))]))
    assert status == 200
    assert [d["segment"] for d in said["detections"]] == [[0.0, 10.0]]


def test_a_doubtful_stride_is_noted_beside_the_detections(started):
    far = json.dumps({"features": [[1.0, 0.0]] * 20, "stride": 1.5}).encode()
    (_, plain), (status, said) = answers(started(), (HEADERS, [BODY]), (HEADERS, [far]))
    assert "notes" not in plain
    assert status == 200
    assert said["detections"]
    (note,) = said["notes"]
    assert note.startswith("a snippet every 1.5 s, but the model was trained with one every 0.5 s")


def test_bodies_that_wait_to_be_read_are_counted(started, monkeypatch):
    """One is read for as long as the others ask; two wait, and the fourth is told to come again."""
    service = started(max_waiting=3)
    going = asyncio.Event()

    async def waits(*_):
        await going.wait()

    def run_in_executor(loop, pool, call, *arguments):
        return asyncio.ensure_future(waits())

    async def four():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(type(loop), "run_in_executor", run_in_executor)
        asked = [asyncio.ensure_future(service._read("application/json", bytearray(BODY), None)) for _ in range(4)]
        (over, *_), left = await asyncio.wait(asked, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
        assert len(left) == 3
        going.set()
        await asyncio.gather(*left)
        return over.exception()

    refused = asyncio.run(four())
    assert refused.status == 503
    assert service._arrived == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=UTF-8"}, 200),
        ({"content-type": 'Application/JSON; charset="utf-8"'}, 200),
        ({"content-type": "application/json; charset=utf-16"}, 415),
        ({"content-type": "application/json", "content-encoding": "Identity"}, 200),
        ({"content-type": "application/json", "content-encoding": "GZIP"}, 415),
        ({"content-type": "text/json"}, 415),
        ({}, 415),
    ],
)
def test_kinds_of_bodies(started, headers, status):
    assert answers(started(), (headers, [BODY]))[0][0] == status


def test_a_gzip_bomb_is_not_even_read(started):
    """It is refused by its head: no part of the body is asked for."""
    ((status, _),) = answers(started(), (HEADERS | {"content-encoding": "gzip"}, []))
    assert status == 415


def test_numbers_beyond_the_models(started):
    for value in (1e39, 1e300, -1e308):
        body = json.dumps({"features": [[value, 0.0]] * 20, "stride": 0.5}).encode()
        ((status, said),) = answers(started(), (HEADERS, [body]))
        assert status == 422
        assert "not finite in float32" in said["error"]
    body = json.dumps({"features": [[1e10, 0.0]] * 20, "stride": 0.5}).encode()
    ((status, said),) = answers(started(), (HEADERS, [body]))
    assert status == 422
    assert said["error"].endswith("features up to 1e+10: are they of the training's kind and units?")
    assert np.isfinite(np.float32(1e38))
