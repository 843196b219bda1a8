"""launch commands as a user types them, in processes of their own with one device and quick compilation."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def command(name, *arguments):
    return [sys.executable, "-m", f"launch.{name}", *map(str, arguments)]


def environment():
    # One device: the flags of the test process ask for four.
    return os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "XLA_FLAGS": "--xla_backend_optimization_level=0"}


def run(name, *arguments):
    return subprocess.run(
        command(name, *arguments), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )
