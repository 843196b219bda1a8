"""Asks a server for /healthz until its standard input ends, then prints the seconds of each answer as JSON.

python -m benchmarks.health PORT

A process of its own, of the standard library alone: the clients beside which it asks must not hold it up.
"""

import http.client
import json
import sys
import threading
import time

POLL = 0.05  # seconds between two questions
PATIENCE = 60


def main() -> None:
    """Asks and prints."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    seconds = []
    while not over.wait(POLL):
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=PATIENCE)
        try:
            connection.request("GET", "/healthz")
            right = connection.getresponse().read() == b'{"status":"ok"}'
        except OSError:
            right = False
        seconds.append(time.perf_counter() - begin if right else float("inf"))
        connection.close()
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
