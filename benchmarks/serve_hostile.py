"""Hostile requests against launch.serve, beside honest ones of the same size: its memory, its statuses, /healthz.

python -m benchmarks.serve_hostile --model=E [--count=10000 --seed=0 --connections=16 --max_mb=1 --rows=500 --timeout=2]

Each request has a connection of its own. Status 1 where one was answered by anything but one line of 4xx, the peak of
memory was more than 1.5 times that of honest requests, /healthz took a second, or the same honest request is answered
otherwise at the end than at the start. What is sent is a function of the seed: benchmarks/hostile_requests.py.
"""

import asyncio
import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.hostile_requests import BEHIND, JSON_KIND, NPY_KIND, request, sized

_MODEL = flags.DEFINE_string("model", None, "Folder that launch.export wrote.")
_COUNT = flags.DEFINE_integer("count", 10_000, "Hostile requests.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of all requests.")
_CONNECTIONS = flags.DEFINE_integer("connections", 16, "At a time.", 1)
_MAX_MB = flags.DEFINE_float("max_mb", 1.0, "Limit of the server on bodies, which a third of the requests reach.", 0.01)
_ROWS = flags.DEFINE_integer("rows", 500, "Snippets of an honest request, whose text is filled with blanks.", 1)
_TIMEOUT = flags.DEFINE_float("timeout", 2.0, "Seconds for a body to arrive; a part of the requests never ends.", 0.1)
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


def main(argv: Sequence[str]) -> None:
    """Starts a server, measures, and prints."""
    del argv
    if _MODEL.value is None:
        app.usage(shorthelp=True, exitcode=2)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    command = [
        sys.executable,
        "-m",
        "launch.serve",
        f"--model={_MODEL.value}",
        "--port=0",
        f"--timeout={_TIMEOUT.value}",
    ]
    server = subprocess.Popen([*command, f"--max_mb={_MAX_MB.value}"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = next(line for line in server.stdout if ": ready" in line).partition(": ")[0]
        width = sum(json.loads((Path(_MODEL.value) / "model.json").read_text())["streams"].values())
        friends, foes, same = attack(
            server.pid, int(address.rsplit(":", 1)[1]), width=width, rows=_ROWS.value, count=_COUNT.value,
            seed=_SEED.value, connections=_CONNECTIONS.value, limit=int(_MAX_MB.value * 1e6),
        )  # fmt: skip
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait()
    print(f"honest:  {friends.text()}\nhostile: {foes.text()}")
    print(f"memory {foes.peak / friends.peak:.2f} of that of honest requests; the same answer at the end: {same}")
    print(*(friends.odd + foes.odd)[:20], sep="\n")
    if friends.odd or foes.odd or foes.peak > SHARE * friends.peak or max(foes.health) >= 1 or not same or status:
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
