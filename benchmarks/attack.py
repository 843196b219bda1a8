"""An attack on a running server: honest requests, then hostile ones of the same sizes, and what each of them costs.

benchmarks.serve_hostile starts the server; a test sends a share of the requests.
"""

import asyncio
import contextlib
import io
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.hostile_requests import BEHIND, JSON_KIND, NPY_KIND, request, sized

SHARE = 1.5  # of the memory that honest requests take
PATIENCE = 60.0
ROOT = Path(__file__).parents[1]


@dataclass
class Outcome:
    """What many requests came to."""

    statuses: Counter = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)  # answers that are not one line of 4xx, or of 200 where that is right
    health: list[float] = field(default_factory=list)  # seconds
    idle: int = 0  # bytes of memory before
    peak: int = 0  # bytes
    seconds: float = 0.0

    def text(self) -> str:
        """One line."""
        worst = max(self.health, default=float("nan"))
        return (
            f"{sum(self.statuses.values())} requests in {self.seconds:.0f} s: {dict(sorted(self.statuses.items()))}, "
            f"memory from {self.idle / 1e6:.0f} to {self.peak / 1e6:.0f} MB, "
            f"/healthz at most {worst:.2f} s, asked {len(self.health)} times"
        )


def honest(width: int, rows: int, size: int, rng: np.random.Generator) -> tuple[str, bytes]:
    """An honest request of so many bytes: JSON of `rows` snippets with blanks, or `.npy` of as many numbers as fit."""
    if rng.random() < 0.3:
        file = io.BytesIO()
        np.save(file, rng.normal(size=(min(rows, max((size - 200) // (8 * width), 1)), width)))
        return "npy", sized(NPY_KIND, file.getvalue())
    least = 10 * width  # bytes of a row
    x = np.round(rng.normal(size=(max(min(rows, size // least), 1), width)), 4)
    text = json.dumps({"features": x.tolist()}).encode()
    return "json", sized(JSON_KIND, (text + b" " * (size - len(text)))[: max(size, len(text))])


async def answer(port: int, data: bytes) -> tuple[int, bytes]:
    """Status and body of the last answer to some bytes on a connection of their own; 0 where there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)

    async def send() -> None:
        try:
            writer.write(data)
            await writer.drain()
        except OSError:  # the server has said enough
            pass

    sending = asyncio.create_task(send())
    status, body = 0, b""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                status, body = int(head.split(maxsplit=2)[1]), b""
                length = [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
                if length:
                    body = await reader.readexactly(int(length[0].split(b":")[1]))
                if status >= 200 and not data.startswith(BEHIND.encode()):
                    break
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        pass
    finally:
        sending.cancel()
        writer.close()
    return status, body


async def send(port: int, requests: Sequence, connections: int, right: range, found: Outcome) -> None:
    """Sends requests, functions that make a name and bytes; what is not answered as it should be goes into `odd`."""
    left = iter(requests)

    async def client() -> None:
        for make in left:
            name, data = make()
            try:
                status, body = await answer(port, data)
            except OSError as e:
                status, body = 0, str(e).encode()
            found.statuses[status] += 1
            if status not in right or len(body.strip().splitlines()) > 1:
                found.odd.append(f"{name}: {status}: {body[:200]!r} to {data[:300]!r}")

    await asyncio.gather(*(client() for _ in range(connections)))


@contextlib.contextmanager
def health(port: int, seconds: list[float]) -> Iterator[None]:
    """Asks for /healthz as long as the block goes on, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.health", str(port)]
    asking = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        seconds += json.loads(asking.communicate()[0])


def peak(pid: int) -> int:
    """Bytes of memory that a process had at most."""
    (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def measured(pid: int, port: int, requests: Sequence, connections: int, right: range) -> Outcome:
    """Sends requests to a server, and measures the peak of its memory from here on."""
    found = Outcome()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak so far
    found.idle = peak(pid)
    begin = time.perf_counter()
    with health(port, found.health):
        asyncio.run(send(port, requests, connections, right, found))
    found.seconds, found.peak = time.perf_counter() - begin, peak(pid)
    return found


def attack(
    pid: int, port: int, *, width: int, rows: int, count: int, seed: int, connections: int, limit: int
) -> tuple[Outcome, Outcome, bool]:
    """Honest requests, then hostile ones of the same sizes.

    Args:
      pid: the process of the server.
      port: where it listens.
      width: channels of its model.
      rows: snippets of an honest request.
      count: how many hostile requests are sent.
      seed: what all requests are drawn from.
      connections: how many are open at a time.
      limit: the largest body that the server takes.

    Returns:
      What came of the honest and of the hostile ones, and whether the first honest request is answered at the end as
      it was at the start.
    """

    def good(number: int):
        return lambda: honest(width, rows, limit, np.random.default_rng([seed, number]))

    def bad(number: int):
        rng = random.Random(f"{seed}/{number}")
        size = limit if rng.random() < 1 / 3 else int(limit ** rng.uniform(0.3, 1))
        return lambda: request(rng, size, limit)

    before = asyncio.run(answer(port, good(0)()[1]))
    friends = measured(pid, port, [good(i) for i in range(6 * connections)], connections, range(200, 201))
    foes = measured(pid, port, [bad(i) for i in range(count)], connections, range(400, 500))
    return friends, foes, before == asyncio.run(answer(port, good(0)()[1]))
