"""The server of a service: uvicorn on a port, with limits that it lacks for clients that never finish a request."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tal_jax.errors import InputError
from tal_jax.serving import content_types
from tal_jax.serving.service import Service

VIDEO = content_types.VIDEO.encode()
HEADER_BYTES = 1 << 16  # of one request
HEADERS = 200
URL_BYTES = 8192
PIPELINED = 32  # requests that wait behind another one on the same connection
GRACE = 2.0  # seconds in which a client that was too slow can still get its answer
KEEP_ALIVE = 30
BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises InputError where the port cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        with contextlib.ExitStack() as undo:
            undo.callback(opened.close)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen(BACKLOG)
            undo.pop_all()
    except (OSError, OverflowError, UnicodeError) as e:
        raise InputError(f"--host={host} --port={port}: {getattr(e, 'strerror', None) or e}: give others") from e
    return opened


def configuration(service: Service) -> uvicorn.Config:
    """How uvicorn serves a service: with its limits, and without logs."""

    class Protocol(_Patience):
        seconds = service.limits.timeout + GRACE
        video_seconds = (service.limits.video_timeout if service.model.takes_videos else service.limits.timeout) + GRACE

    return uvicorn.Config(
        service.app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        log_level="error",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        backlog=BACKLOG,
    )


def run(service: Service, opened: socket.socket, prepare: Callable[[], object]) -> None:
    """Answers requests until SIGTERM or SIGINT, then finishes those that were accepted.

    Args:
      service: the service that answers.
      opened: the socket to answer on, see `listen`.
      prepare: called in a thread of its own; it calls `service.prepare`. If it fails, the server ends with its
        exception.
    """

    server = uvicorn.Server(configuration(service))
    faults: list[BaseException] = []

    def prepared() -> None:
        try:
            prepare()
        except BaseException as e:
            faults.append(e)
            server.should_exit = True

    # uvicorn raises a signal again when it has finished, and would end by it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    thread = threading.Thread(target=prepared, name="prepare")
    thread.start()
    server.run(sockets=[opened])
    thread.join()
    if faults:
        raise faults[0]


class _Patience(HttpToolsProtocol):
    """Refuses, each with an answer of one line, requests that are late, damaged, or have headers without end.

    What still comes after such an answer is read and dropped for a moment: closing at once would reset the connection,
    and with it take the answer from a client that is still sending.
    """

    seconds: float  # for a request to arrive
    video_seconds: float  # for one whose body is a video
    _deadline: asyncio.TimerHandle | None = None
    _heading = False  # a request has begun, and its headers are not complete
    _bare = 0  # bytes since a request began, or since a piece of its body came: headers, trailers, sizes of chunks
    _fault = (400, "not a request of HTTP/1.1")  # what to say where the parser fails
    _refusal: bytes | None = None  # an answer that nothing comes after
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._bare += len(data)
        super().data_received(data)
        if self._bare > HEADER_BYTES:
            self._refuse(431, f"more than {HEADER_BYTES} bytes of headers")

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            self._fail(429, f"more than {PIPELINED} requests at a time on one connection")
        super().on_message_begin()
        self._bare, self._heading = 0, True
        self._expect()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > URL_BYTES:
            self._fail(414, f"a path of more than {URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS:  # the trailers of a chunked body are among them
            self._fail(431, f"more than {HEADERS} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._heading = False
        if dict(self.headers).get(b"content-type", b"").lower().startswith(VIDEO):
            self._expect(self.video_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bare = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._bare = 0
        self._forget()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._refusal is not None:
            self._say()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        self._refuse(*self._fault)

    def _fail(self, status: int, message: str) -> NoReturn:
        """Ends the parsing of what has come; `send_400_response` is called for it."""
        self._fault = status, message
        raise ValueError(message)

    def _refuse(self, status: int, message: str) -> None:
        """Answers for the last time: at once, or after the answer to a request that is there in whole."""
        if self._refusal is not None or self.transport.is_closing():
            return
        text = orjson.dumps({"error": message})
        head = f"content-type: application/json\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n"
        self._refusal = STATUS_LINE[status] + head.encode() + text
        self.pipeline.clear()
        running = self._running
        if running is None or running.response_complete or running.more_body:
            self._say()

    def _say(self) -> None:
        assert self._refusal is not None
        if self.transport.is_closing():
            return
        for cycle in (self._running, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._unset_keepalive_if_required()
        self.transport.write(self._refusal)
        self.transport.write_eof()
        self.flow.resume_reading()
        self._forget()
        self._deadline = self.loop.call_later(GRACE, self.transport.abort)

    def _expect(self, seconds: float | None = None) -> None:
        self._forget()
        self._deadline = self.loop.call_later(self.seconds if seconds is None else seconds, self._late)

    def _late(self) -> None:
        if self._heading:
            self._refuse(408, f"the request has not arrived within {self.seconds - GRACE:g} s")
        else:
            self.transport.abort()

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
