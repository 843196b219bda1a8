"""Requests a second of launch.serve, beside what the model alone computes in the same run.

python -m benchmarks.serve_load --model=E [--connections=32 --seconds=10 --snippets=100 --batch=16]

Three processes, one after the other but for the first two: the server; this one, which is its clients; and the model
called directly, before and after. Prints requests a second, latencies, and where the server's time went. Status 1 if an
answer was no 200. Needs nothing that the server does not.
"""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

_MODEL = flags.DEFINE_string("model", None, "Folder that launch.export wrote.", required=True)
_CONNECTIONS = flags.DEFINE_integer("connections", 32, "Clients, each of which waits for its answer.", 1)
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Of measuring, after two to warm up.", 0.1)
_SNIPPETS = flags.DEFINE_integer("snippets", 100, "T of every recording.", 1)
_BATCH = flags.DEFINE_integer("batch", 16, "Batches of the server, and of the model called directly.", 1)
_DIRECT = flags.DEFINE_bool("direct", False, "Only call the model directly, and print recordings a second.")
_SERVER = flags.DEFINE_string("server", "", "Arguments of launch.serve, with blanks between them.")
WARM = 2.0


def main(argv: Sequence[str]) -> None:
    """Measures and prints."""
    del argv
    if _DIRECT.value:
        print(direct())
        return
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    again = [sys.executable, "-m", "benchmarks.serve_load", *sys.argv[1:], "--direct"]
    limits = [float(subprocess.check_output(again, text=True))]
    command = [sys.executable, "-m", "launch.serve", f"--model={_MODEL.value}", "--port=0"]
    command += [f"--max_batch={_BATCH.value}", *_SERVER.value.split()]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        address = ""
        for line in server.stdout:
            address = line.partition(": ")[0]
            if ": ready" in line:
                break
        statuses, latencies, metrics, elapsed = asyncio.run(load(address))
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait()
    limits.append(float(subprocess.check_output(again, text=True)))
    rate, limit = len(latencies) / elapsed, float(np.mean(limits))
    p50, p90, p99 = (1000 * float(np.percentile(latencies, q)) for q in (50, 90, 99))
    print(
        f"{rate:.0f} requests a second from {_CONNECTIONS.value} connections, statuses {dict(statuses)}, end {status}"
    )
    print(f"latency: p50 {p50:.0f} ms, p90 {p90:.0f} ms, p99 {p99:.0f} ms, most {1000 * max(latencies):.0f} ms")
    print(
        f"model called directly: {' and '.join(f'{x:.0f}' for x in limits)} a second: service {rate / limit:.0%} of it"
    )
    computing = metrics["tal_compute_seconds_total"]
    mean = metrics["tal_batch_windows_sum"] / metrics["tal_batch_windows_count"]
    print(
        f"server: in the model {computing / elapsed:.0%} of the time; windows in a batch {mean:.1f}; "
        f"{metrics['process_cpu_seconds_total'] / elapsed:.2f} cores; client: {metrics['client'] / elapsed:.2f} cores"
    )
    if set(statuses) != {200} or status:
        sys.exit(1)


def inputs() -> list[np.ndarray]:
    """Recordings as wide as the model's."""
    streams = json.loads((Path(_MODEL.value) / "model.json").read_text())["streams"]
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.3, (_SNIPPETS.value, sum(streams.values()))).astype(np.float32) for _ in range(64)]


def direct() -> float:
    """Recordings a second in batches, without HTTP."""
    from tal_jax.deploy import Recording, load
    from tal_jax.devices.compilation import use_cache

    use_cache()
    model = load(_MODEL.value)
    recordings = [Recording([x], stride=0.2) for x in inputs()]
    for _ in model.detect(recordings[: _BATCH.value], _BATCH.value):
        pass
    begin, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < _SECONDS.value / 2:
        done += sum(1 for _ in model.detect(recordings, _BATCH.value))
    return done / elapsed


def body(x: np.ndarray) -> bytes:
    """A `.npy` file."""
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


async def load(address: str) -> tuple[Counter, list[float], dict[str, float], float]:
    """Statuses and latencies of all requests within the seconds, and how far the metrics went on meanwhile."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    requests = []
    for x in inputs():
        data = body(x)
        head = f"POST /detect?stride=0.2 HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-npy\r\n"
        requests.append(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    statuses: Counter = Counter()
    latencies: list[float] = []
    start = time.perf_counter() + WARM

    async def client(index: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while (begin := time.perf_counter()) < start + _SECONDS.value:
            writer.write(requests[index % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert length is not None
            await reader.readexactly(int(length[1]))
            end = time.perf_counter()
            if start <= end < start + _SECONDS.value:
                statuses[int(head.split(maxsplit=2)[1])] += 1
                latencies.append(end - begin)
            index += 1
        writer.close()
        await writer.wait_closed()

    async def watch() -> list[dict[str, float]]:
        found = []
        for moment in (start, start + _SECONDS.value):
            await asyncio.sleep(moment - time.perf_counter())
            found.append(await asyncio.to_thread(metrics, address) | {"client": time.process_time()})
        return found

    (before, after), *_ = await asyncio.gather(watch(), *(client(i) for i in range(_CONNECTIONS.value)))
    return statuses, latencies, {name: after[name] - before.get(name, 0.0) for name in after}, _SECONDS.value


def metrics(address: str) -> dict[str, float]:
    """Sums of the samples of each name."""
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    sums: Counter = Counter()
    for line in lines:
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            sums[name.partition("{")[0]] += float(value)
    return dict(sums)


if __name__ == "__main__":
    app.run(main)
