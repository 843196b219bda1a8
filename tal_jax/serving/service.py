"""Detection over HTTP, as an ASGI application: requests are checked, limited, and put together to batches.

POST /detect   features, or a video where the model has its encoder ->
               {"detections": [{"label", "score", "segment"}, ..]}, or {"error": ".."} with a status of 4xx;
               "notes": [".."] beside the detections says what is doubtful, where anything is
GET  /         the model: labels, streams, stride, needs, limits
GET  /healthz  200 once everything is compiled, 503 before
GET  /metrics  for Prometheus
"""

import asyncio
import contextlib
import math
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tal_jax.deploy.model import Model, ResolvedRecording
from tal_jax.deploy.strides import doubts
from tal_jax.errors import InputError
from tal_jax.serving.batching import Batcher, Full
from tal_jax.serving.content_types import JSON, NPY, VIDEO, kind_of, taken
from tal_jax.serving.json_bodies import Refused
from tal_jax.serving.limits import Limits
from tal_jax.serving.metrics import Measures
from tal_jax.serving.requests import Query, recording
from tal_jax.serving.video_bodies import VideoBodies
from tal_jax.windows import WindowDetections

SMALL = 1 << 20  # bytes of .npy that are read at once: a thread would take longer to ask
GONE = 499  # the client closed the connection: of no standard, but what servers write
Programs = list[tuple[str, Callable[[], None]]]
BODIES = 16  # bodies of the largest size that are held at a time
QUERY_BYTES = 2048
Found = TypeVar("Found")


class Service:
    """The application, with its queue, its threads and its metrics."""

    def __init__(self, model: Model, *, limits: Limits, max_batch: int = 16, max_delay: float = 0.002):
        """Does nothing yet: see `prepare`, which must run, and `app`.

        Args:
          model: the model that detects.
          limits: the limits of requests.
          max_batch, max_delay: see `Batcher`.
        """
        self.model, self.limits = model, limits
        self.measures = Measures(lambda: self.batcher.waiting)
        self.batcher = Batcher(
            model,
            max_batch=max_batch,
            max_delay=max_delay,
            max_waiting=limits.max_waiting,
            on_batch=self.measures.batch,
        )
        self.ready = False
        self._stopping = False
        self._held = 0  # bytes of all bodies
        self._arrived = 0  # bodies that are there in whole, and not yet recordings
        self._threads = ThreadPoolExecutor(2, "parse")
        self._videos = VideoBodies(model, limits)
        self.app = Starlette(
            routes=[
                Route("/detect", self._detect, methods=["POST"]),
                Route("/", self._about, methods=["GET"]),
                Route("/healthz", self._health, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _plain, Exception: _fault},
            lifespan=self._lifespan,
        )
        # A redirect would be made from the client's Host header, whatever stands there.
        self.app.router.redirect_slashes = False

    def prepare(self, progress: Callable[[Programs], Iterable[tuple[str, Callable[[], None]]]] = iter) -> bool:
        """Compiles everything and starts to compute; requests are turned away until then.

        Args:
          progress: called with the programs and their names; returns an iterable over the same, to show how far it is.

        Returns:
          True where all is compiled, False where the service was stopped before.
        """
        programs = self.batcher.programs(self.limits.max_snippets)
        if self.model.takes_videos:
            programs.append(("encoder", self.model.encoder.compile))
        for _, program in progress(programs):
            program()
            if self._stopping:
                return False
        self.batcher.start()
        self.ready = True
        return True

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self._stopping = True
        await asyncio.to_thread(self.batcher.close)
        self._threads.shutdown()
        self._videos.close()

    async def _about(self, request: Request) -> Response:
        model = self.model
        return _json(
            {
                "labels": model.labels,
                "streams": model.streams,
                "stride": model.stride,
                "needs": model.needs,
                "content_types": taken(model),
                "limits": asdict(self.limits),
            }
        )

    async def _health(self, request: Request) -> Response:
        return _json({"status": "ok"}) if self.ready else _error(503, "compiling", {"retry-after": "5"})

    async def _metrics(self, request: Request) -> Response:
        return Response(self.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _detect(self, request: Request) -> Response:
        begin = time.perf_counter()
        try:
            response = await self._answer(request)
            self.measures.latency.observe(time.perf_counter() - begin)
        except Refused as e:
            response = _error(e.status, str(e))
            if e.status == 503:
                response.headers["retry-after"] = str(self._patience())
            if e.status == 408:
                response.headers["connection"] = "close"
        except ClientDisconnect:
            response = Response(status_code=GONE)
        except Exception:
            self.measures.requests.labels("500").inc()
            raise
        self.measures.requests.labels(str(response.status_code)).inc()
        return response

    def _patience(self) -> int:
        """Seconds after which there may be room for another request."""
        return min(max(math.ceil(self.batcher.backlog), 1), 60) if self.ready else 5

    async def _answer(self, request: Request) -> Response:
        if not self.ready:
            raise Refused(503, "the model is being compiled: try again")
        if self.batcher.waiting >= self.limits.max_waiting:
            raise Refused(503, f"{self.limits.max_waiting} recordings wait already: try again")
        if len(request.scope["query_string"]) > QUERY_BYTES:
            raise Refused(414, f"parameters of more than {QUERY_BYTES} bytes")
        query = Query.of(request.query_params.multi_items())
        kind = kind_of(request.headers, self.model)
        if kind.startswith(VIDEO):
            for name, value in (("stride", query.stride), ("duration", query.duration)):
                if value is not None:
                    why = f"a video has a {name} of its own: its parameters are top and min_score"
                    raise Refused(422, f"?{name}={value:g}: {why}")
            known, notes = await self._videos.recording(request, lambda future: _while_there(request, future))
            return self._answered(await self._found(request, known), query, notes)
        async with self._body(request) as body:
            if kind in NPY and len(body) <= SMALL:
                known = self._known(kind, body, query)
            else:
                known = await self._read(kind, body, query)
            return self._answered(await self._found(request, known), query, doubts(self.model, known))

    async def _read(self, kind: str, body: bytearray, query: Query) -> ResolvedRecording:
        """As `_known`, in a thread; those who wait for it count as those who wait for detections."""
        if self._arrived >= self.limits.max_waiting:
            raise Refused(503, f"{self.limits.max_waiting} bodies wait to be read: try again")
        self._arrived += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._known, kind, body, query)
        finally:
            self._arrived -= 1

    def _known(self, kind: str, body: bytearray, query: Query) -> ResolvedRecording:
        return recording(self.model, kind, body, query, max_snippets=self.limits.max_snippets)

    @contextlib.asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytearray]:
        """The body of a request, counted as long as it is held."""
        too_large = Refused(413, f"the body is larger than {self.limits.max_mb:g} MB")
        if int(request.headers.get("content-length", 0)) > self.limits.body:
            raise too_large
        # Not a list of its parts: those of a client that sends single bytes are forty times as large.
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self.limits.timeout):
                    async for part in request.stream():
                        if len(body) + len(part) > self.limits.body:
                            raise too_large
                        if self._held + len(part) > BODIES * self.limits.body:
                            raise Refused(503, "too many large bodies at a time: try again")
                        body += part
                        self._held += len(part)
            except TimeoutError as e:
                raise Refused(408, f"the body has not arrived within {self.limits.timeout:g} s") from e
            yield body
        finally:
            self._held -= len(body)

    async def _found(self, request: Request, known: ResolvedRecording) -> WindowDetections:
        try:
            return await _while_there(request, asyncio.wrap_future(self.batcher.submit(known)))
        except Full as e:
            raise Refused(503, f"{self.limits.max_waiting} recordings wait already: try again") from e
        except InputError as e:
            raise Refused(422, str(e)) from e

    def _answered(self, found: WindowDetections, query: Query, notes: tuple[str, ...]) -> Response:
        kept = (found.scores >= query.min_score).nonzero()[0][: query.top]  # NaN is not kept
        answer: dict[str, Any] = {"detections": self.model.rows(WindowDetections(*(x[kept] for x in found)))}
        return _json(answer | {"notes": notes} if notes else answer)


async def _while_there(request: Request, future: "asyncio.Future[Found]") -> Found:
    """Waits for a result, or for the client to give up: nothing is computed for those who are gone."""
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((future, gone), return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ClientDisconnect
        return future.result()
    finally:
        future.cancel()
        gone.cancel()


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type=JSON)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps({"error": message}), status, headers, JSON)


def _plain(request: Request, fault: Exception) -> Response:
    """The answer to a request for a path or a method that there is not."""
    assert isinstance(fault, HTTPException)
    return _error(fault.status_code, fault.detail, dict(fault.headers or {}))


def _fault(request: Request, fault: Exception) -> Response:
    """The answer after a bug; the traceback goes to the log, not to the client."""
    traceback.print_exception(fault, file=sys.stderr)
    return _error(500, "internal error")
