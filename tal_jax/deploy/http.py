"""The server of a service: uvicorn on a port, with limits that it lacks for clients that never finish a request."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tal_jax.deploy.service import Service
from tal_jax.errors import InputError

HEADER_BYTES = 1 << 16
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


def run(service: Service, opened: socket.socket, prepare: Callable[[], object]) -> None:
    """Answers requests until SIGTERM or SIGINT, then finishes those that were accepted.

    Args:
      service: the service that answers.
      opened: the socket to answer on, see `listen`.
      prepare: called in a thread of its own; it calls `service.prepare`. If it fails, the server ends with its
        exception.
    """

    class Protocol(_Patience):
        seconds = service.limits.timeout + GRACE

    config = uvicorn.Config(
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
    server = uvicorn.Server(config)
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
    """Closes connections on which a request does not arrive in whole in time, or has headers without end."""

    seconds: float
    _deadline: asyncio.TimerHandle | None = None
    _headers: int | None = None  # their bytes while they arrive, without those of the part in which they begin
    _part = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._part = len(data)
        super().data_received(data)
        if self._headers is not None:
            self._headers += len(data)
            if self._headers > HEADER_BYTES and not self.transport.is_closing():
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._headers = -self._part
        self._expect()

    def on_headers_complete(self) -> None:
        self._headers = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._forget()

    def _expect(self) -> None:
        self._forget()
        self._deadline = self.loop.call_later(self.seconds, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
