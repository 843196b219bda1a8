"""launch commands as a user types them, in processes of their own with one device and quick compilation."""

import os
import subprocess
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]


def command(name, *arguments):
    return [sys.executable, "-m", f"launch.{name}", *map(str, arguments)]


def environment():
    # One device: the flags of the test process ask for four. Its compilation cache, not the user's.
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
    }


def run(name, *arguments):
    return subprocess.run(
        command(name, *arguments), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )
