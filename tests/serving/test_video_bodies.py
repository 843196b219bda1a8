"""Videos in bodies, of a service that answers on a real port, with an encoder that looks at nothing."""

import contextlib
import http.client
import json
import socket
import tempfile
import threading
import time

import numpy as np
import pytest
import uvicorn
from support import videos
from support.commands import PATIENCE
from support.oracle import model_of

from tal_jax.deploy.recording import Recording
from tal_jax.serving.http import configuration, listen
from tal_jax.serving.limits import Limits
from tal_jax.serving.service import Service
from tal_jax.video.decode import Video
from tal_jax.windows import Framing

MP4 = {"content-type": "video/mp4"}
HEAD = "POST /detect HTTP/1.1\r\nhost: x\r\ncontent-type: video/mp4\r\ncontent-length: {}\r\n\r\n"


class Encoder:
    """Finds the same in whatever a file holds."""

    def recording(self, path, id, *, watch):
        return Recording([np.ones((20, 2), np.float32)], id, 0.5, 10.0), ()


ENCODER = Encoder()


class Served:
    """A service in a thread of this process, on a free port."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, headers=MP4):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.putrequest(method, path)  # without headers of its own
            for name, value in ({} if body is None else {"content-length": str(len(body))} | headers).items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def begun(self, length, part):
        """A request whose body has so many bytes, of which a part is sent."""
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        opened.sendall(HEAD.format(length).encode() + part)
        return opened


@pytest.fixture
def serve():
    """Starts services, of a model with an encoder or without."""
    with contextlib.ExitStack() as stack:

        def start(encoder=ENCODER, **limits):
            model = model_of(Framing("window", 32))
            model._has_encoder, model.encoder = encoder is not None, encoder
            service = Service(model, limits=Limits(**limits), max_batch=1, max_delay=0.0)
            service.batcher.seconds[0, 1] = 0.001  # nothing is compiled, nor measured
            service.batcher.start()
            service.ready = True
            server, opened = uvicorn.Server(configuration(service)), listen("127.0.0.1", 0)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            return Served(opened.getsockname()[1])

        yield start


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """What there is of bodies."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda: list(tmp_path.iterdir())


def answered(opened):
    """The status and the content of the answer to what was sent."""
    with contextlib.closing(http.client.HTTPResponse(opened)) as answer:
        answer.begin()
        return answer.status, json.loads(answer.read())


def comes(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


NPY = "send application/octet-stream or application/x-npy (a .npy file of numpy.save)"
WITHOUT = f"{NPY} or application/json (in UTF-8)"
WITH = f"{NPY}, application/json (in UTF-8) or video/* (a video)"


@pytest.mark.parametrize(("encoder", "send"), [(ENCODER, WITH), (None, WITHOUT)])
def test_what_may_be_sent_is_said(serve, encoder, send):
    service = serve(encoder)
    mp4 = b"\0\0\0\x20ftypisom" + bytes(100)
    for headers, status, words in (
        ({"content-type": "text/plain"}, 415, "content-type 'text/plain': "),
        ({"content-type": "image/gif"}, 415, "content-type 'image/gif': "),
        ({"content-type": ""}, 415, "content-type '': "),
        ({}, 415, "the request has no Content-Type header: "),
        ({"content-type": "application/octet-stream"}, 400, "not a .npy file ("),
        ({"content-type": "application/json"}, 400, "not JSON: { expected at its beginning: "),
    ):
        found = service.ask("POST", "/detect", mp4, headers)
        assert found[0] == status, found
        assert found[1]["error"].startswith(words), found
        assert found[1]["error"].endswith(f": {send}"), found
        assert "\n" not in found[1]["error"]
    assert ("video/*" in service.ask("GET", "/")[1]["content_types"]) == (encoder is not None)
    status, said = service.ask("POST", "/detect", mp4)
    if encoder:
        assert (status, len(said["detections"])) == (200, 1)
    else:
        why = "the model has no encoder, or needs more than a video"
        assert (status, said["error"]) == (415, f"content-type 'video/mp4': {why}: {send}")


def test_so_many_videos_at_once_and_no_more(serve, on_disk):
    service = serve(max_videos=2)
    assert service.ask("GET", "/")[1]["limits"]["max_videos"] == 2
    with service.begun(100, b"some") as one, service.begun(100, b"some"):
        comes(lambda: len(on_disk()) == 2)
        status, said = service.ask("POST", "/detect", b"a video")
        assert (status, said["error"]) == (503, "2 videos are at work already: try again")
        one.close()
        comes(lambda: len(on_disk()) == 1)
        assert service.ask("POST", "/detect", b"a video")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"some bytes"])
def test_an_upload_that_stalls_gives_its_place_back(serve, on_disk, sent):
    service = serve(max_videos=1, timeout=0.5, video_timeout=60)
    with service.begun(1000, sent) as stalled:
        assert answered(stalled) == (408, {"error": "no byte of the video came for 0.5 s: send it again"})
        assert stalled.recv(1) == b"", "the connection has ended"
    assert not on_disk()
    assert service.ask("POST", "/detect", b"a video")[0] == 200


def test_a_slow_upload_that_goes_on_is_taken(serve, on_disk):
    """Its pauses are short, though all of them together are longer than a pause may be."""
    service = serve(timeout=2, video_timeout=PATIENCE)
    with service.begun(10, b"") as slow:
        for _ in range(10):
            time.sleep(0.3)
            slow.sendall(b"x")
        status, said = answered(slow)
        assert (status, len(said["detections"])) == (200, 1)
    assert not on_disk()


def test_an_upload_of_many_pauses_has_an_end(serve, on_disk):
    service = serve(timeout=PATIENCE, video_timeout=0.5)
    with service.begun(1000, b"some bytes") as stalled:
        assert answered(stalled) == (408, {"error": "the video has not arrived within 0.5 s"})
    assert not on_disk()


@pytest.mark.parametrize("name", ["stride", "duration"])
def test_a_parameter_that_no_video_has_is_named(serve, name):
    status, said = serve().ask("POST", f"/detect?top=3&{name}=0.5", b"a video")
    why = f"?{name}=0.5: a video has a {name} of its own: its parameters are top and min_score"
    assert (status, said["error"]) == (422, why)


def test_what_is_no_video_is_not_said_to_be_left_out(serve, tmp_path):
    """There is one file alone, and it was meant."""
    pytest.importorskip("av")

    class Looks(Encoder):
        def recording(self, path, id, *, watch):
            for _ in Video(path).shown():
                pass
            return super().recording(path, id, watch=watch)

    service = serve(encoder=Looks())
    video = videos.write(tmp_path / "x.mp4", videos.regular(5))
    assert service.ask("POST", "/detect", video.read_bytes())[0] == 200
    for content, words in (
        (b"no video at all" * 100, "the video: no video that can be read ("),
        (videos.picture(tmp_path / "x.gif").read_bytes(), "the video: only one image of it can be decoded, which has"),
    ):
        status, said = service.ask("POST", "/detect", content)
        assert status == 422
        assert said["error"].startswith(words)
        assert "leave it out" not in said["error"]
