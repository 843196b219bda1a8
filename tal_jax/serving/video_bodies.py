"""Videos in the bodies of requests: to disk as they arrive, within limits, then to features, one after the other."""

import asyncio
import concurrent.futures
import contextlib
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starlette.requests import Request

from tal_jax.deploy.model import Model, ResolvedRecording
from tal_jax.errors import InputError
from tal_jax.serving.json_bodies import Refused
from tal_jax.serving.limits import Limits

PART = 1 << 20  # bytes that are written at a time


class VideoBodies:
    """What a service does with videos; one thread encodes them."""

    def __init__(self, model: Model, limits: Limits):
        """Does nothing yet. The model must take videos when one comes."""
        self._model, self._limits = model, limits
        self._thread = ThreadPoolExecutor(1, "encode")
        self._there = 0

    def close(self) -> None:
        """Waits for the thread."""
        self._thread.shutdown()

    async def recording(
        self, request: Request, wait: Callable[[asyncio.Future], Awaitable[tuple[ResolvedRecording, tuple[str, ...]]]]
    ) -> tuple[ResolvedRecording, tuple[str, ...]]:
        """The recording that a request's body is, and notes on its damage.

        Args:
          request: whose body is still to be read.
          wait: waits for a future as long as the client does.

        Raises:
          Refused: 408, 413, 422 or 503, where it is late, too large, cannot be decoded, or others are there already.
        """
        if self._there >= self._limits.max_videos:
            raise Refused(503, f"{self._limits.max_videos} videos are at work already: try again")
        self._there += 1
        gone = threading.Event()
        try:
            async with self._on_disk(request) as path:
                job = self._thread.submit(self._encoded, path, gone)
                try:
                    return await wait(asyncio.wrap_future(job))
                finally:
                    # The file stays until the thread has done with it, which it soon has when nobody waits.
                    gone.set()
                    if not job.done():
                        await asyncio.to_thread(concurrent.futures.wait, [job])
        except OSError as e:  # of the disk, on which features lie too
            raise Refused(503, f"no room for the video ({e.strerror}): try again") from e
        finally:
            self._there -= 1

    @contextlib.asynccontextmanager
    async def _on_disk(self, request: Request) -> AsyncIterator[Path]:
        """The body in a file of its own, which goes with the block."""
        limit = int(self._limits.max_video_mb * 1e6)
        too_large = Refused(413, f"the video is larger than {self._limits.max_video_mb:g} MB")
        if int(request.headers.get("content-length", 0)) > limit:
            raise too_large
        with tempfile.TemporaryDirectory(prefix="tal_jax_video_") as folder:
            path, size, part = Path(folder) / "body", 0, bytearray()
            try:
                with path.open("wb") as file:
                    async with asyncio.timeout(self._limits.video_timeout):
                        pieces = request.stream()
                        while (piece := await self._soon(pieces)) is not None:
                            size += len(piece)
                            if size > limit:
                                raise too_large
                            part += piece
                            if len(part) >= PART:
                                await asyncio.to_thread(file.write, part)
                                part = bytearray()
                        await asyncio.to_thread(file.write, part)
            except TimeoutError as e:
                raise Refused(408, f"the video has not arrived within {self._limits.video_timeout:g} s") from e
            if not size:
                raise Refused(400, "an empty body: send a video")
            yield path

    async def _soon(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """The next piece of a body, None after the last one; who stalls is not waited for as long as who is slow."""
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await anext(pieces, None)
        except TimeoutError as e:
            raise Refused(408, f"no byte of the video came for {self._limits.timeout:g} s: send it again") from e

    def _encoded(self, path: Path, gone: threading.Event) -> tuple[ResolvedRecording, tuple[str, ...]]:
        begin = time.monotonic()

        def watch(seconds: float, snippets: int) -> None:
            if gone.is_set():
                raise _Gone
            if seconds > self._limits.max_video_seconds:
                raise Refused(413, f"the video is longer than {self._limits.max_video_seconds:g} s")
            if snippets > self._limits.max_snippets:
                raise Refused(413, f"the video has more than {self._limits.max_snippets} snippets")
            if time.monotonic() - begin > self._limits.video_timeout:
                raise Refused(413, f"the video takes longer than {self._limits.video_timeout:g} s to be encoded")

        try:
            watch(0, 0)
            recording, notes = self._model.encoder.recording(str(path), "of the request", watch=watch)
            return self._model.checked(recording), tuple(note.replace(f"{path}: ", "") for note in notes)
        except Refused:
            raise
        except InputError as e:
            raise Refused(422, str(e).replace(str(path), "the video")) from e


class _Gone(Exception):
    """Raised where nobody waits for a video any more."""
