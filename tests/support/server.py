"""launch.serve as a process of its own on a real port, and a client of it."""

import http.client
import json
import re
import signal
import socket
import subprocess

from support.commands import PATIENCE, ROOT, command, environment
from support.sensor_set import STRIDE

NPY = {"content-type": "application/x-npy"}
QUERY = f"/detect?stride={STRIDE}"


class Server:
    """launch.serve on a free port until the block ends, however it ends."""

    def __init__(self, model, *arguments):
        self.process = subprocess.Popen(
            command("serve", f"--model={model}", "--port=0", "--max_snippets=400", *arguments),
            cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            self.port = int(re.search(r":(\d+): ", self.process.stdout.readline())[1])
            self.before = self.ask("GET", "/healthz")[0]
            assert "ready" in self.process.stdout.readline()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Nothing of it is left, however the test went."""
        self.process.kill()
        with self.process:  # waits, and closes the pipes
            pass

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, method, path, body=None, headers=NPY):
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def detect(self, body, headers=NPY, path=QUERY):
        status, text, _ = self.ask("POST", path, body, headers)
        return status, json.loads(text)

    def socket(self, head, body=b""):
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        try:
            opened.sendall(head.encode() + body)
        except BaseException:
            opened.close()
            raise
        return opened

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors
