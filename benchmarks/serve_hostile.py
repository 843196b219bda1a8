"""Hostile requests against launch.serve, beside honest ones of the same size: its memory, its statuses, /healthz.

python -m benchmarks.serve_hostile --model=E [--count=10000 --seed=0 --connections=16 --max_mb=1 --rows=500 --timeout=2]

Each request has a connection of its own. Status 1 where one was answered by anything but one line of 4xx, the peak of
memory was more than 1.5 times that of honest requests, /healthz took a second, or the same honest request is answered
otherwise at the end than at the start. What is sent is a function of the seed: benchmarks/hostile_requests.py.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from benchmarks.attack import SHARE, attack

_MODEL = flags.DEFINE_string("model", None, "Folder that launch.export wrote.")
_COUNT = flags.DEFINE_integer("count", 10_000, "Hostile requests.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of all requests.")
_CONNECTIONS = flags.DEFINE_integer("connections", 16, "At a time.", 1)
_MAX_MB = flags.DEFINE_float("max_mb", 1.0, "Limit of the server on bodies, which a third of the requests reach.", 0.01)
_ROWS = flags.DEFINE_integer("rows", 500, "Snippets of an honest request, whose text is filled with blanks.", 1)
_TIMEOUT = flags.DEFINE_float("timeout", 2.0, "Seconds for a body to arrive; a part of the requests never ends.", 0.1)


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
