"""launch commands as a user types them, in processes of their own with one device and quick compilation."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import jax

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds for what a command does: only a failure on a busy machine is made rarer by more


def command(name, *arguments):
    return [sys.executable, "-m", f"launch.{name}", *map(str, arguments)]


def environment():
    # One device: the flags of the test process ask for four. Its compilation cache, not the user's, and for all that
    # takes long enough to be worth reading back: processes of one test after another run the same programs.
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
        "XLA_FLAGS": " ".join(f for f in os.environ["XLA_FLAGS"].split() if "device_count" not in f),
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }


def run(name, *arguments):
    return subprocess.run(
        command(name, *arguments), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )


@contextlib.contextmanager
def started(name, *arguments, **options):
    """A command that runs beside the block and does not outlive it, nor do its pipes; options are those of Popen."""
    options = {"cwd": ROOT, "env": environment()} | options
    with subprocess.Popen(command(name, *arguments), **options) as process:
        try:
            yield process
        finally:
            process.kill()


def until(happened, *processes):
    """Waits until something is so, while all the processes run."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert all(p.poll() is None for p in processes), "ended before it happened"
        assert time.monotonic() < end, "has not happened"
        time.sleep(0.02)


def logged(workdir, stage, lines):
    """Whether a training has logged so many lines: what `until` waits for."""
    metrics = workdir / stage / "metrics.jsonl"
    return lambda: metrics.exists() and metrics.read_text().count("\n") >= lines
